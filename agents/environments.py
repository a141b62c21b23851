"""Where agents train and play: real environments and imagined ones, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.ppo import MakeVecEnv
from agents.real_env import get_preset, make_real_env
from world_model.action_spec import ActionSpec
from world_model.errors import NFDError

MakeEnv = Callable[[], gym.Env[np.ndarray, Any]]


def real_environment(name: str) -> MakeEnv:
    """Makes a real environment: a preset such as ``doom-take-cover``, or ``module:function``.

    Raises:
        WorldNotFoundError: if no preset has that name.
        NFDError: if ``module:function`` cannot be loaded.
    """
    if ":" in name:
        from nfd_env.loading import load_object

        return load_object(name)
    return partial(make_real_env, get_preset(name), labels=False)


def real_action_spec(name: str) -> ActionSpec:
    """The actions of a real environment, by their names where the preset gives any."""
    if ":" not in name:
        return get_preset(name).action_spec
    env = real_environment(name)()
    try:
        return ActionSpec.from_space(env.action_space)
    finally:
        env.close()


def real_vec_envs(name: str) -> MakeVecEnv:
    """Real environments side by side for stable-baselines3."""

    def make(count: int, seed: int) -> VecEnv:
        envs = DummyVecEnv([real_environment(name)] * count)
        envs.seed(seed)
        return envs

    return make


def imagined_vec_envs(world: Any, **settings: Any) -> MakeVecEnv:
    """Imagined environments in one batch for stable-baselines3; ``settings`` as the env's."""

    def make(count: int, seed: int) -> VecEnv:
        from nfd_env import make_sb3_vec_env

        envs = make_sb3_vec_env("NFD-World-v0", n_envs=count, world=world, **settings)
        envs.seed(seed)
        return envs

    return make


def source_of(world: Any) -> str:
    """Name of the real environment that ``world`` was learned from.

    Raises:
        NFDError: if the world does not say, or it is not one that can be played here.
    """
    source = dict(world.config.source)
    name = source.get("preset") or source.get("environment") or ""
    if ":" not in name:
        try:
            get_preset(name)
        except NFDError as error:
            raise NFDError(
                f"{world.model_id} was learned from {name or 'an unknown environment'!r}, which "
                "cannot be played here. Evaluate in imagination only, with --episodes 0."
            ) from error
    return str(name)


SHORT = 10
"""Steps of imagined training episodes that start in the midst of recorded ones."""


def training_starts(
    world: Any, contexts: str | None = None, horizon: int | None = None
) -> tuple[str, int | None]:
    """Where imagined training episodes start, and after how many steps they are cut off.

    Args:
        world: the world to train in.
        contexts: as the environment's argument; None for moments where the world brings some.
        horizon: None for a short one where episodes start everywhere, else the world's own.
    """
    if contexts is None:
        contexts = "bundled" if getattr(world, "moments", None) is None else "moments"
    everywhere = contexts == "moments" or Path(contexts.partition("#")[0]).is_dir()
    if horizon is None and everywhere:
        horizon = SHORT
    return contexts, horizon
