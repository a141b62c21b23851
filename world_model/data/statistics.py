"""Statistics of the columns, part by part, so that ``meta/stats.json`` needs no second pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from world_model.data.metadata import IMAGE_KEY, DatasetInfo
from world_model.data.streams import EpisodeStream


class PixelCounts:
    """How often each level of each channel occurs, which gives exact moments without floats.

    Args:
        stride: of the pixels that are counted, in both directions: all of them with 1.
    """

    def __init__(self, stride: int = 1) -> None:
        self.stride = stride
        self.counts: np.ndarray = np.zeros((3, 256), np.int64)

    def add(self, frames: np.ndarray) -> None:
        """Counts uint8 (n, H, W, 3)."""
        pixels = frames[:, :: self.stride, :: self.stride].reshape(-1, 3)
        self.counts += np.stack([np.bincount(pixels[:, c], minlength=256) for c in range(3)])

    def stats(self) -> dict[str, Any]:
        """Per channel, in the unit range, as LeRobot has them."""
        levels = np.arange(256) / 255.0
        return {
            "min": [float(levels[np.flatnonzero(c)[0]]) for c in self.counts],
            "max": [float(levels[np.flatnonzero(c)[-1]]) for c in self.counts],
            "sum": (self.counts @ levels).tolist(),
            "squares": (self.counts @ levels**2).tolist(),
            "count": int(self.counts[0].sum()),
        }


def running_stats(
    episodes: Sequence[EpisodeStream], pixels: PixelCounts, info: DatasetInfo
) -> dict[str, dict[str, Any]]:
    """Running sums per column, of numbers and pixels."""
    return column_stats(episodes, info) | {IMAGE_KEY: pixels.stats()}


def column_stats(episodes: Sequence[EpisodeStream], info: DatasetInfo) -> dict[str, dict[str, Any]]:
    """Running sums per column of numbers."""
    arrays = {
        "action": np.concatenate([e.actions for e in episodes]),
        "next.reward": np.concatenate([e.rewards for e in episodes])[:, None],
    }
    if info.state_names:
        arrays["observation.state"] = np.concatenate([e.state for e in episodes])
    return {name: _moments(array.astype(np.float64)) for name, array in arrays.items()}


def _moments(array: np.ndarray) -> dict[str, Any]:
    width = array.shape[1]
    empty = len(array) == 0
    return {
        "min": [0.0] * width if empty else array.min(axis=0).tolist(),
        "max": [0.0] * width if empty else array.max(axis=0).tolist(),
        "sum": array.sum(axis=0).tolist(),
        "squares": (array**2).sum(axis=0).tolist(),
        "count": len(array),
    }


def merged_stats(running: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Joins running statistics, in LeRobot's shapes: (K,), and (3, 1, 1) for images."""
    merged: dict[str, dict[str, Any]] = {}
    for name in running[0]:
        # An episode of a single frame has no action: there may be parts without a value.
        parts = [stats[name] for stats in running if stats[name]["count"]] or [running[0][name]]
        count = sum(part["count"] for part in parts)
        mean = np.sum([part["sum"] for part in parts], axis=0) / max(count, 1)
        square = np.sum([part["squares"] for part in parts], axis=0) / max(count, 1)
        values = {
            "min": np.min([part["min"] for part in parts], axis=0),
            "max": np.max([part["max"] for part in parts], axis=0),
            "mean": mean,
            "std": np.sqrt(np.maximum(square - mean**2, 0)),
        }
        shape = (-1, 1, 1) if name == IMAGE_KEY else (-1,)
        merged[name] = {key: value.reshape(shape).tolist() for key, value in values.items()}
        merged[name]["count"] = [count]
    return merged
