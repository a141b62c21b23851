"""Where agents train and play: real environments and imagined ones, by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.ppo import MakeVecEnv
from agents.presets import PRESETS, get_preset, make_real_env
from agents.real_env import RealEnvPreset
from agents.recipe import EnvRecipe, is_recipe
from world_model.action_spec import ActionSpec
from world_model.data.metadata import INFO_PATH, read_info
from world_model.errors import NFDError
from world_model.world_config import WorldParts

MakeEnv = Callable[[], gym.Env[np.ndarray, Any]]
Real = str | Mapping[str, Any]
"""A real environment: its name, or the ``source`` of what was recorded of it."""
CONFIG = "config.json"
TRUST = "NFD_TRUST_SOURCES"
"""Environment variable: whether what a data set or world names may be imported and run."""


def real_environment(real: Real) -> MakeEnv:
    """Makes a real environment.

    Args:
        real: a preset such as ``doom-take-cover``, ``module:function``, the folder of a data set
            or world, or the ``source`` that one of these keeps.

    Raises:
        WorldNotFoundError: if no preset has that name.
        ConfigError: if the source does not say how the environment is made.
        NFDError: if ``module:function`` cannot be loaded.
    """
    real = followed(real)
    if not isinstance(real, str):
        return partial(make_real_env, EnvRecipe.from_source(real), labels=False)
    if real in PRESETS:
        return partial(make_real_env, get_preset(real), labels=False)
    from nfd_env.loading import load_object

    return load_object(real)


def followed(real: Real) -> Real:
    """What stands behind a folder's name; everything else as it is.

    Raises:
        WorldNotFoundError: if it names neither a preset, nor a function, nor such a folder.
        NFDError: if the folder names code, and nobody said that it can be trusted.
    """
    if not isinstance(real, str) or real in PRESETS or ":" in real:
        return real
    kept = _described(Path(real))
    if kept is None:
        get_preset(real)  # raises, with the names that there are
    return _playable(kept or {}, real)


def real_action_spec(real: Real) -> ActionSpec:
    """The actions of a real environment, by their names where there are any."""
    if isinstance(real, str) and real in PRESETS:
        preset = get_preset(real)
        if isinstance(preset, RealEnvPreset):
            return preset.action_spec
    env: Any = real_environment(real)()
    try:
        spec = getattr(env, "action_spec", None)
        return spec if isinstance(spec, ActionSpec) else ActionSpec.from_space(env.action_space)
    finally:
        env.close()


def real_name(real: Real) -> str:
    """What to call a real environment in tables and texts."""
    return real if isinstance(real, str) else str(real.get("name", real.get("environment")))


def real_vec_envs(real: Real) -> MakeVecEnv:
    """Real environments side by side for stable-baselines3."""

    def make(count: int, seed: int) -> VecEnv:
        envs = DummyVecEnv([real_environment(real)] * count)
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


def source_of(world: Any) -> Real:
    """The real environment that ``world`` was learned from, as :func:`real_environment` takes it.

    Raises:
        NFDError: if the world does not say, or it is not one that can be played here.
    """
    from world_model.world import World

    # A world that is no folder of numbers, but made by code, was made by the user's.
    trusted = not isinstance(world, World)
    return _playable(dict(world.config.source), world.model_id, trusted=trusted)


def _playable(source: Mapping[str, Any], what: str, *, trusted: bool = False) -> Real:
    """What ``source``, that of ``what``, says about its real environment."""
    name = str(source.get("preset") or source.get("environment") or "")
    named = ":" in name or name.startswith("NFD-World")
    if named and not (trusted or os.environ.get(TRUST)):
        raise NFDError(
            f"{what} says that its real environment is {name!r}, which runs code of that name. Set "
            f"{TRUST}=1 if you trust where it comes from."
        )
    if is_recipe(source):
        return source
    if ":" not in name:
        try:
            get_preset(name)
        except NFDError as error:
            why = (
                f"{what} was learned from {name!r}, which cannot be played here."
                if name
                else f"{what} does not say what it was learned from, so that cannot be played here."
            )
            raise NFDError(
                f"{why} 'nfd evaluate' takes one by name, with --real-env; 'nfd agent' evaluates "
                "in imagination only with --episodes 0."
            ) from error
    return name


def _described(folder: Path) -> dict[str, Any] | None:
    """The source that a data set or a world keeps; None if ``folder`` is neither."""
    if (folder / INFO_PATH).is_file():
        return dict(read_info(folder)["nfd"].get("source", {}))
    if (folder / CONFIG).is_file():
        where = str(folder / CONFIG)
        return dict(WorldParts.from_json((folder / CONFIG).read_text(), where).config.source)
    return None


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
