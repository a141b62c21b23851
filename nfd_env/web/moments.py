"""Moments and branches: what a timeline is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Done = tuple[tuple[float, ...], int | None]
"""The encoded action, and with how many denoising steps."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a timeline."""

    id: int
    """Its number: those of later moments are larger."""
    parent: int | None
    """The moment before; None for a start."""
    branch: int
    """The branch it is on."""
    step: int
    """Steps since the start."""
    action: tuple[float, ...]
    """The encoded action that led here; empty for a start."""
    picture: bytes
    """The frame, encoded; empty where it was dropped to make room and can be imagined again."""
    check: int
    """CRC-32 of the frame's pixels."""
    reward: float = 0.0
    """Of the step that led here."""
    total: float = 0.0
    """Sum of the rewards since the start."""
    uncertainty: float = 0.0
    """Of the step that led here."""
    sampling: int | None = None
    """Denoising steps of the frame; None where there is no choice."""
    ended: str = ""
    """``terminated``, ``horizon`` or ``uncertainty`` where the episode ends here."""
    start: Any = None
    """What a moment without a parent starts from."""

    @property
    def done(self) -> Done:
        """What led here from the moment before."""
        return self.action, self.sampling


@dataclass
class Branch:
    """A line of moments: one future that was played."""

    id: int
    """Its number."""
    name: str
    """What the visitor calls it."""
    fork: int | None
    """The moment of another branch that it leaves from; None if it has a start of its own."""
    moments: list[int] = field(default_factory=list)
    """Its moments, in order."""
