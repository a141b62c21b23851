"""Three numbers that a frame of a healthy world keeps within the range of real ones."""

from __future__ import annotations

import numpy as np

from world_model.data.store import EpisodeStore

STATISTICS = ("mean", "deviation", "change")
"""Of a frame: mean and standard deviation of its pixels, mean absolute change to the next one."""
OUTER = 0.005
"""Quantiles of the training frames, from both ends, that bound the usual range."""


def frame_statistics(before: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """float32 (N, 3), see :data:`STATISTICS`, of frames uint8 (N, h, w, 3)."""
    flat = frames.reshape(len(frames), -1)
    change = np.abs(frames.astype(np.int16) - before.astype(np.int16)).reshape(len(frames), -1)
    return np.stack([flat.mean(1), flat.std(1), change.mean(1)], axis=1).astype(np.float32)


def usual_range(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (S,) and (S,) of the usual range, from the statistics (N, S) of training frames."""
    low, high = np.quantile(statistics, [OUTER, 1 - OUTER], axis=0)
    return low, high


def frame_statistics_of(store: EpisodeStore, count: int = 20_000) -> np.ndarray:
    """Statistics of up to ``count`` training frames that have a frame before them."""
    rows = np.concatenate(
        [
            np.arange(store.offsets[i] + 1, store.offsets[i + 1])
            for i in store.split("train").tolist()
        ]
    )
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
    parts = [
        frame_statistics(store.frames[part - 1], store.frames[part])
        for part in np.array_split(rows, max(1, len(rows) // 500))
    ]
    return np.concatenate(parts)
