"""What ``nfd evaluate`` is asked to measure, by name."""

from __future__ import annotations

from typing import Any

from benchmarks.real_world import RealWorld
from nfd_env.loading import load_rollout

PERFECT = "perfect:"
"""Begins the name of the real game in the place of a world."""


def open_world(name: str, device: str = "auto") -> Any:
    """The world called ``name``; of ``perfect:NAME`` the real game that it was learned from.

    Raises:
        NFDError: if there is no such world, or its game cannot be played here.
    """
    if name.startswith(PERFECT):
        return RealWorld(load_rollout(name.removeprefix(PERFECT), device)[0])
    return load_rollout(name, device)[0]
