"""Speed and quality of a long episode by how long it has lasted.

The episode is cut into stretches, each ten times as long as the one before. Equally many frames of
each, evenly spaced, are compared with recorded ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.frechet import FeatureSpace, frechet_distance

SHORTEST = 100
"""Frames of the first stretch."""
KEPT = 100
"""Frames of each stretch that are compared: the Frechet distance depends on their number."""


def stretches(steps: int) -> list[tuple[int, int]]:
    """First and last step of each stretch; a short rest belongs to the one before.

    >>> stretches(10_000)
    [(1, 100), (101, 1000), (1001, 10000)]
    >>> stretches(1_050)
    [(1, 100), (101, 1050)]
    """
    ends = [SHORTEST]
    while ends[-1] * 10 <= steps:
        ends.append(ends[-1] * 10)
    if steps - ends[-1] >= max(SHORTEST, ends[-1] // 2):
        ends.append(steps)
    else:
        ends[-1] = steps
    return list(zip([1, *(end + 1 for end in ends[:-1])], ends, strict=True))


def steps_to_keep(steps: int) -> set[int]:
    """The steps whose frames :func:`by_length` compares."""
    return {
        int(step)
        for first, last in stretches(steps)
        for step in np.linspace(first, last, min(KEPT, last - first + 1)).round()
    }


def by_length(
    statistics: np.ndarray,
    seconds: np.ndarray,
    frames: dict[int, np.ndarray],
    usual: tuple[np.ndarray, np.ndarray],
    real: np.ndarray | None = None,
    space: FeatureSpace | None = None,
) -> list[dict[str, Any]]:
    """One row per stretch.

    Args:
        statistics: float32 (T, S), of every frame.
        seconds: float64 (T,), that each step took.
        frames: uint8 (H, W, 3) by step, those of :func:`steps_to_keep`.
        usual: the range (S,) to (S,) of the statistics of recorded frames.
        real: recorded frames uint8 (N, H, W, 3) to compare with.
        space: where to compare them; None leaves that out.

    Returns:
        ``first`` and ``last`` step, ``frames_per_second`` (at the median),
        ``share_in_usual_range`` (of frames all of whose statistics are), ``frechet`` (or None).
    """
    within: np.ndarray = (statistics >= usual[0]) & (statistics <= usual[1])
    inside: np.ndarray = np.all(within, axis=1)
    points = None if space is None or real is None else space.project(real)
    rows = []
    for first, last in stretches(len(statistics)):
        part = slice(first - 1, last)
        distance = None
        if space is not None and points is not None:
            kept = [frame for step, frame in sorted(frames.items()) if first <= step <= last]
            distance = frechet_distance(space.project(np.stack(kept)), points)
        rows.append(
            {
                "first": first,
                "last": last,
                "frames_per_second": float(1 / np.median(seconds[part])),
                "share_in_usual_range": float(inside[part].mean()),
                "frechet": distance,
            }
        )
    return rows
