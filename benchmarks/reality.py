"""The real environment that a world is compared with."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from agents.environments import Real, followed, real_environment, real_name, source_of
from nfd_env.loading import load_object
from world_model.errors import NFDError


def reality_of(world: Any, named: str | None = None) -> Real:
    """The real environment to compare ``world`` with, whose frames and actions are the world's.

    Args:
        world: the world.
        named: as :func:`agents.environments.real_environment` takes it; None for what the world
            says that it was learned from.

    Raises:
        NFDError: if the world does not say, the environment cannot be made, or its spaces are
            others.
    """
    real = named_reality(world, named)
    env: Any = real_environment(real)()
    try:
        check_spaces(env, world, real_name(real))
    finally:
        env.close()
    return real


def named_reality(world: Any, named: str | None = None) -> Real:
    """The same by name alone: nothing is made, and so nothing is checked.

    Raises:
        NFDError: if the world does not say what it was learned from.
    """
    return source_of(world) if named is None else named


def check_spaces(env: Any, world: Any, name: str) -> None:
    """Refuses a real environment whose frames or actions are not those of ``world``.

    Raises:
        NFDError: that says what differs.
    """
    frames = spaces.Box(0, 255, tuple(world.config.frame_shape), np.uint8)
    for what, found, expected in (
        ("observations", env.observation_space, frames),
        ("actions", env.action_space, world.action_spec.space),
    ):
        if found != expected:
            raise NFDError(
                f"the real environment {name} has other {what} than {world.model_id}: {found}, "
                f"expected {expected}. Name the one that it imagines with --real-env: a recipe, "
                "module:function, or the folder of a data set that was recorded in it."
            )


def code_of(real: Real) -> dict[str, str]:
    """What tells two versions of somebody's real environment apart, for what is remembered of it.

    Returns:
        ``code``: a digest of the file with the function that a ``module:function`` names, directly
        or in the source of a data set or world. Nothing for environments that have versions of
        their own, or where there is no such file.
    """
    try:
        source = followed(real)
        name = source if isinstance(source, str) else str(source.get("environment"))
        if ":" not in name:
            return {}
        file = inspect.getsourcefile(load_object(name))
        return {"code": hashlib.sha256(Path(str(file)).read_bytes()).hexdigest()[:16]}
    except (NFDError, OSError, TypeError):
        return {}
