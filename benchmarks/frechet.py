"""Frechet distance between real and imagined frames, in a feature space of the world's own game.

Features of networks for photographs say little about frames of 64x64 pixels. The outcome model's
convolutions were trained on this game to see what decides it; their main directions are the space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.clips import Clips
from world_model.data.store import EpisodeStore
from world_model.outcome import OutcomeModel

FRAMES = 2_000
"""Recorded frames that span a space, or are compared with."""
DIRECTIONS = 32
"""Principal directions that are kept: a covariance needs many more frames than that."""
NAME = "main directions of the features of the world's outcome model"
"""Of the space, in documents."""
NEAREST = 4
"""Steps of the first group of horizons."""


@dataclass(frozen=True)
class FeatureSpace:
    """Main directions of an outcome model's features."""

    model: OutcomeModel
    """What sees."""
    mean: np.ndarray
    """float64 (E,)."""
    directions: np.ndarray
    """float64 (E, D), orthonormal."""

    @classmethod
    def of(cls, model: OutcomeModel, frames: np.ndarray, count: int = DIRECTIONS) -> FeatureSpace:
        """The space in which real frames uint8 (N, H, W, 3) differ most from each other."""
        seen = _see(model, frames)
        mean = seen.mean(0)
        _, _, right = np.linalg.svd(seen - mean, full_matrices=False)
        return cls(model, mean, right[:count].T)

    def project(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 (N, H, W, 3) as points float64 (N, D)."""
        return (_see(self.model, frames) - self.mean) @ self.directions

    @property
    def weights(self) -> str:
        """First digits of the SHA-256 of the outcome model's weights, by which it is told."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def spread_frames(store: EpisodeStore) -> np.ndarray:
    """Some :data:`FRAMES` recorded frames, uint8 (N, H, W, 3), evenly spread over a data set."""
    return np.asarray(store.frames[:: max(1, store.num_frames // FRAMES)])


def horizon_groups(horizon: int) -> list[tuple[int, int]]:
    """First and last steps of the groups that frames are pooled over, counted from 1.

    >>> horizon_groups(16)
    [(1, 4), (5, 8), (9, 16)]
    >>> horizon_groups(6), horizon_groups(3)
    ([(1, 4), (5, 6)], [(1, 3)])
    """
    groups, first = [], 1
    while first <= horizon:
        groups.append((first, min(max(NEAREST, 2 * (first - 1)), horizon)))
        first = groups[-1][1] + 1
    return groups


def measure_frechet(
    space: FeatureSpace | None, clips: Clips, forecasts: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Frechet distance of forecasts' frames to the real ones of the same steps, by horizon.

    Args:
        space: where; None: the world has none.
        clips: the real clips.
        forecasts: uint8, broadcast against the clips' frames (N, H, h, w, 3).

    Returns:
        ``space``, its name, ``weights``, which they are, ``directions``, how many; ``distance`` by
        group of steps (``1-4``) and forecast, with ``n`` frames on either side; ``real_halves`` is
        that of the real frames of half of the clips to those of the others, of other episodes where
        there are several: mostly what so few frames make of no difference at all. None where there
        are no more frames than directions. None has an interval: a bootstrap of a figure that is
        too high by chance is wrong itself. Without a space there is a ``why_not`` instead.
    """
    if space is None:
        return {"why_not": "the world has no outcome model, in whose features frames would be seen"}
    half = np.zeros(len(clips), bool)
    half[np.argsort(clips.episodes, kind="stable")[: len(clips) // 2]] = True
    found: dict[str, dict[str, Any]] = {}
    for first, last in horizon_groups(clips.horizon):
        part = slice(first - 1, last)
        known = clips.known[:, part]
        real = space.project(clips.frames[:, part][known])
        row = {
            name: _distance(
                real, space.project(np.broadcast_to(frames, clips.frames.shape)[:, part][known])
            )
            for name, frames in forecasts.items()
        }
        mine = np.broadcast_to(half[:, None], known.shape)[known]
        row["real_halves"] = _distance(real[mine], real[~mine])
        found[f"{first}-{last}"] = row
    return {
        "space": NAME,
        "weights": space.weights,
        "directions": space.directions.shape[1],
        "distance": found,
    }


def _distance(real: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    n = min(len(real), len(others))
    enough = n > real.shape[1]
    value = frechet_distance(real, others) if enough else None
    return {"estimate": value, "low": None, "high": None, "n": n}


@torch.no_grad()
def _see(model: OutcomeModel, frames: np.ndarray, batch: int = 256) -> np.ndarray:
    device = model.reward_support.device
    parts = [
        model.features(torch.from_numpy(frames[i : i + batch].copy()).to(device)).cpu().numpy()
        for i in range(0, len(frames), batch)
    ]
    return np.concatenate(parts).astype(np.float64)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of the normal distributions that fit two sets of points (N, D).

        |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    Heusel et al. 2017, arXiv 1706.08500. More points are closer: compare equal numbers only.
    """
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = _root(covariances[0])
    # tr (A B)^(1/2) = tr (A^(1/2) B A^(1/2))^(1/2), which is symmetric.
    cross = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(min=0)
    spread = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.sqrt(cross).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + spread)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
