"""Small things that matter: are the objects of a class where they should be, and nowhere else?

Averages over whole frames hardly notice an object of a few pixels that decides the game. Here only
the pixels count that the real game's labels give to a class, and the blobs that a detector finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.statistics import Interval
from benchmarks.blobs import match_blobs
from benchmarks.clips import Clips
from benchmarks.detector import REACH, Detector
from benchmarks.image_metrics import squared_error
from benchmarks.intervals import ratio_intervals

Forecasts = dict[str, np.ndarray]
"""Frames uint8 (N, H, h, w, 3) by the name of what forecast them."""


@dataclass(frozen=True)
class Presence:
    """Precision and recall of the objects in some frames, by one horizon each."""

    precision: list[Interval]
    """Share of the blobs found that are true ones."""
    recall: list[Interval]
    """Share of the true blobs that are found."""
    per_frame: list[Interval]
    """Blobs found per frame."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            name: [interval.to_dict() for interval in getattr(self, name)]
            for name in ("precision", "recall", "per_frame")
        }


def error_inside(clips: Clips, forecasts: Forecasts, index: int) -> dict[str, list[Interval]]:
    """Root mean square error, in grey levels, over the pixels labelled ``index``, by horizon."""
    assert clips.labels is not None
    mask = (clips.labels == index) & clips.known[..., None, None]
    pixels = mask.sum((-2, -1)).astype(np.float64)
    result = {}
    for name, frames in forecasts.items():
        error = np.nan_to_num(squared_error(frames, clips.frames, mask)) * pixels
        result[name] = ratio_intervals(error, pixels, clips.episodes, transform=np.sqrt)
    return result


def presence(
    clips: Clips, forecasts: Forecasts, index: int, detector: Detector
) -> dict[str, Presence]:
    """Finds the objects in every forecast and holds them against the true labels."""
    assert clips.labels is not None
    true = (clips.labels == index) & clips.known[..., None, None]
    return {
        name: judge(
            detector.find(np.broadcast_to(frames, clips.frames.shape)),
            true,
            clips.known,
            clips.episodes,
        )
        for name, frames in forecasts.items()
    }


def judge(found: np.ndarray, true: np.ndarray, known: np.ndarray, episodes: np.ndarray) -> Presence:
    """Presence of blobs in masks bool (N, H, h, w), over the frames that are known, by horizon."""
    shape = known.shape
    found = found & known[..., None, None]
    matches = match_blobs(found.reshape(-1, *found.shape[2:]), true.reshape(-1, *true.shape[2:]),
                          REACH)  # fmt: skip
    matched, blobs, wanted = (
        part.reshape(shape) for part in (matches.matched, matches.found, matches.true)
    )
    return Presence(
        precision=ratio_intervals(matched, blobs, episodes),
        recall=ratio_intervals(matched, wanted, episodes),
        per_frame=ratio_intervals(blobs, known, episodes),
    )


def counts_over_time(
    real: np.ndarray,
    imagined: np.ndarray,
    known: np.ndarray,
    detector: Detector,
    index_of: np.ndarray,
) -> dict[str, Any]:
    """Blobs per frame over long rollouts: real and imagined frames of the same steps.

    Args:
        real: uint8 (N, H, h, w, 3).
        imagined: uint8 (N, H, h, w, 3).
        known: bool (N, H), the steps that count.
        detector: of the objects.
        index_of: int (N,), the episode of each rollout.

    Returns:
        Mean and its interval for both and for their ratio, and the means by step for a plot.
    """
    counts = []
    for frames in (real, imagined):
        found = detector.find(frames) & known[..., None, None]
        flat = found.reshape(-1, *found.shape[2:])
        counts.append(match_blobs(flat, flat).found.reshape(known.shape).astype(np.float64))
    totals = [part.sum(1, keepdims=True) for part in counts]
    steps = known.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        by_step = [part.sum(0) / known.sum(0) for part in counts]
    return {
        "real": ratio_intervals(totals[0], steps, index_of)[0].to_dict(),
        "imagined": ratio_intervals(totals[1], steps, index_of)[0].to_dict(),
        "ratio": ratio_intervals(totals[1], totals[0], index_of)[0].to_dict(),
        "by_step": {"real": by_step[0].tolist(), "imagined": by_step[1].tolist()},
    }
