"""Where a line of moments begins: chosen by a seed, one of the world's clips, or pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nfd_env.web.limits import RequestError
from world_model.types import Context


@dataclass(frozen=True)
class Start:
    """Where a line of moments begins. Two equal ones lead to equal futures."""

    seed: int
    """Seed of the episode."""
    clip: int | None = None
    """Which of the world's clips; None: the seed chooses, or there are ``frames``."""
    frames: tuple[bytes, ...] = ()
    """Raw pixels of frames that the visitor brought, the newest last."""
    mode: str = ""
    """The action mode in which the line is played; empty: the world has but one."""


def context_of(start: Start, world: Any) -> Context | None:
    """The frames that a start begins with; None: what its seed chooses.

    Raises:
        RequestError: if the world has no such clip.
    """
    if start.frames:
        from nfd_env.reset_options import given_context

        shape = (len(start.frames), *world.config.frame_shape)
        frames = np.frombuffer(b"".join(start.frames), np.uint8).reshape(shape)
        return given_context(frames, None, world)
    if start.clip is None:
        return None
    clips = world.contexts
    if clips is None or not 0 <= start.clip < len(clips):
        raise RequestError(f"this world has no start {start.clip}.")
    return clips.pick([start.clip])
