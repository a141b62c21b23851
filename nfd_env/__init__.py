"""NFD-World: learned worlds as Gymnasium environments.

>>> import gymnasium as gym
>>> import nfd_env  # registers the ids
>>> "NFD-World-v0" in gym.registry
True

The names below load on first use, so that importing the package costs no more than Gymnasium.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from nfd_env.env import NFDWorldEnv
    from nfd_env.sb3_vec_env import NFDWorldVecEnv, make_sb3_vec_env
    from nfd_env.snapshot import Snapshot
    from nfd_env.vector_env import NFDWorldVectorEnv

__all__ = [
    "NFDWorldEnv",
    "NFDWorldVecEnv",
    "NFDWorldVectorEnv",
    "Snapshot",
    "make_sb3_vec_env",
]

_HOMES = {
    "NFDWorldEnv": "nfd_env.env",
    "NFDWorldVecEnv": "nfd_env.sb3_vec_env",
    "NFDWorldVectorEnv": "nfd_env.vector_env",
    "Snapshot": "nfd_env.snapshot",
    "make_sb3_vec_env": "nfd_env.sb3_vec_env",
}


def _register() -> None:
    # A module that is reloaded must not register twice: Gymnasium warns about it.
    if "NFD-World-v0" not in gym.registry:
        # No max_episode_steps: the horizon is the world's, and is kept inside the environment.
        gym.register(
            id="NFD-World-v0",
            entry_point="nfd_env.env:NFDWorldEnv",
            vector_entry_point="nfd_env.vector_env:NFDWorldVectorEnv",
        )


_register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
