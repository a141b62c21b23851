"""What ``nfd evaluate`` is asked to measure, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.environments import real_environment
from benchmarks.real_world import RealWorld
from benchmarks.reality import reality_of
from nfd_env.loading import load_rollout

PERFECT = "perfect:"
"""Begins the name of the real game in the place of a world."""
TEACHER = "teacher:"
"""Begins the name of a distilled world whose many-step network shall be measured instead."""


def open_world(name: str, device: str = "auto", real_env: str | None = None) -> Any:
    """The world called ``name``.

    Args:
        name: of a world; ``perfect:NAME`` is the real game that it was learned from, and
            ``teacher:NAME`` the many-step network that it was distilled from.
        device: where it shall be.
        real_env: name of the real game, see :func:`benchmarks.reality.reality_of`.

    Raises:
        NFDError: if there is no such world, its game cannot be played here, or it has no teacher.
    """
    if name.startswith(PERFECT):
        world = load_rollout(name.removeprefix(PERFECT), device)[0]
        # Asked of the world itself, so that what is from elsewhere names no code to run.
        return RealWorld(world, real_environment(reality_of(world, real_env)))
    if name.startswith(TEACHER):
        world = load_rollout(name.removeprefix(TEACHER), device, teacher=True)[0]
        # A name of its own, so that its results do not lie where those of the world do.
        return replace(world, config=replace(world.config, name=f"teacher-{world.config.name}"))
    return load_rollout(name, device)[0]
