"""Frechet distance between real and imagined frames, in a feature space of the world's own game.

Features of networks for photographs say little about frames of 64x64 pixels. The outcome model's
convolutions were trained on this game to see what decides it; their main directions are the space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from world_model.data.store import EpisodeStore
from world_model.outcome import OutcomeModel

FRAMES = 2_000
"""Recorded frames that span a space, or are compared with."""
DIRECTIONS = 32
"""Principal directions that are kept: a covariance needs many more frames than that."""


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


def spread_frames(store: EpisodeStore) -> np.ndarray:
    """Some :data:`FRAMES` recorded frames, uint8 (N, H, W, 3), evenly spread over a data set."""
    return np.asarray(store.frames[:: max(1, store.num_frames // FRAMES)])


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
