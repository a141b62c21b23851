"""An episode without an end, of a world of ours or of anybody's imagined environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

import nfd_env  # noqa: F401 - registers the ids


def endless_env(world: Any, **settings: Any) -> Any:
    """A single environment whose episode goes on for as long as it is stepped.

    Args:
        world: an adapter that says that it goes on (``goes_on``), or a world of ours.
        settings: of our environment, such as ``sampling_steps``; they say nothing to others.
    """
    if hasattr(world, "endless_env"):
        return world.endless_env()
    return gym.make("NFD-World-v0", world=world, endless=True, **settings)


def numbers_are_finite(env: Any, info: dict[str, Any]) -> bool:
    """Whether nothing that can be seen of an environment's state is a NaN or an infinity.

    Of an environment that is not ours that is ``info["uncertainty"]``, if there is one.
    """
    core = getattr(getattr(env, "unwrapped", env), "core", None)
    shown = np.isfinite(info.get("uncertainty", 0.0)).all()
    return bool(shown) and state_is_finite(getattr(core, "state", None))


def state_is_finite(state: Any) -> bool:
    """Whether no tensor of a rollout's state holds a NaN or an infinity."""
    import torch

    tensors = state.tensors() if hasattr(state, "tensors") else []
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())
