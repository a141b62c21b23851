"""Statistics of the columns, part by part, so that ``meta/stats.json`` needs no second pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from world_model.data.metadata import DatasetInfo
from world_model.types import Episode


def running_stats(episodes: Sequence[Episode], info: DatasetInfo) -> dict[str, dict[str, Any]]:
    """Running sums per column; images per channel, in the unit range, as LeRobot has them."""
    pixels = np.concatenate([e.frames.reshape(-1, 3) for e in episodes])
    arrays = {
        "action": np.concatenate([e.actions for e in episodes]),
        "next.reward": np.concatenate([e.rewards for e in episodes])[:, None],
    }
    if info.state_names:
        arrays["observation.state"] = np.concatenate([e.state for e in episodes])
    stats = {name: _moments(array.astype(np.float64)) for name, array in arrays.items()}
    # A histogram per channel gives exact moments without a float copy of every pixel.
    levels = np.arange(256) / 255.0
    counts = np.stack([np.bincount(pixels[:, c], minlength=256) for c in range(3)])
    stats["observation.image"] = {
        "min": [float(levels[np.flatnonzero(c)[0]]) for c in counts],
        "max": [float(levels[np.flatnonzero(c)[-1]]) for c in counts],
        "sum": (counts @ levels).tolist(),
        "squares": (counts @ levels**2).tolist(),
        "count": len(pixels),
    }
    return stats


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
        shape = (-1, 1, 1) if name == "observation.image" else (-1,)
        merged[name] = {key: value.reshape(shape).tolist() for key, value in values.items()}
        merged[name]["count"] = [count]
    return merged
