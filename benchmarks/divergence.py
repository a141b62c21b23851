"""Divergence time: the step from which a long episode has left the usual range for good.

The share of frames in the usual range says how much of an episode was well. It does not say whether
the world came back: one that is lost after a thousand steps and one that blinks now and then have
the same share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WINDOW = 100
"""Steps of the sliding window; a shorter episode is one window."""
LEAST = 0.5
"""Share of a window's frames in the usual range below which it counts as left."""
OVERALL = "overall"
"""Name of what asks all statistics of a frame at once."""


def divergence_times(within: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """When a long episode has left the usual range for good, if it has.

    Args:
        within: bool (T, S), whether each statistic of each frame is in its usual range.
        names: of the S statistics.

    Returns:
        ``window`` (steps) and ``least`` (share), as asked; ``overall``, a step in [1, T] or None
        where it never left, of frames all of whose statistics are in their ranges; and the same for
        each statistic alone, by its name under ``statistics``.
    """
    return {
        "window": min(WINDOW, len(within)),
        "least": LEAST,
        OVERALL: divergence_time(np.all(within, axis=1)),
        "statistics": {
            name: divergence_time(within[:, i]) for i, name in enumerate(names)
        },
    }  # fmt: skip


def divergence_time(inside: np.ndarray, window: int = WINDOW) -> int | None:
    """The first step of an episode after which it does not come back to the usual range.

    Around each step lies a window of so many steps (the step, one half of the others before it, one
    half after; near an end of the episode the first, or last, so many steps). The divergence time
    is the first step that is outside the range and from which on, at it and at every later step,
    fewer than :data:`LEAST` of the window's frames are inside. So an episode that is inside up to a
    step, and outside from it on, diverges there exactly; what comes back for half a window has not
    diverged; and of what happens within the last half window nothing is said.

    Args:
        inside: bool (T,), whether the frame of each step is in the range.
        window: steps, at least 1.

    Returns:
        A step in [1, T], or None where it has not diverged.

    >>> divergence_time(np.arange(300) < 120)
    121
    >>> divergence_time(np.arange(300) % 200 < 120) is None
    True
    """
    width = min(window, len(inside))
    if not width:
        return None
    sums = np.concatenate([[0], np.cumsum(inside)])
    left = sums[width:] - sums[:-width] < LEAST * width  # by the first step of each window
    if not left[-1]:
        return None
    stayed = np.flatnonzero(~left)
    # Steps before the middle of the first window share that window.
    first = int(stayed[-1]) + 1 + (width - 1) // 2 if len(stayed) else 0
    return first + int(np.argmin(inside[first:])) + 1
