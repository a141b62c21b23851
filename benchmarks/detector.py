"""Finds the objects of one class by how they look, calibrated on real frames with true labels.

A detector must work on imagined frames, which have no labels. This one is as simple as can be: a
linear filter over a pixel's surroundings, and a threshold. How well it does on real frames of
held-out episodes is reported beside everything that is measured with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.blobs import match_blobs
from world_model.data.store import EpisodeStore
from world_model.errors import DataError

SIZE = 9
"""Side of the square of pixels that the filter sees."""
REACH = 1
"""Pixels by which a blob may miss the true one."""
RIDGE = 1e-5
"""Keeps the filter small where colours say the same."""
PIXELS = 50_000
"""So many pixels are enough to fit a filter."""
_SHARES_FOUND = (0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


@dataclass(frozen=True)
class Detector:
    """Marks the pixels at which a filter exceeds a threshold."""

    kernel: np.ndarray
    """float32 (3, SIZE, SIZE), for colours in 0..1."""
    threshold: float
    """On what the filter gives."""

    def find(self, frames: np.ndarray) -> np.ndarray:
        """bool (..., h, w) of frames uint8 (..., h, w, 3)."""
        flat = torch.from_numpy(np.array(frames).reshape(-1, *frames.shape[-3:]))
        marks = [_score(part, self.kernel) > self.threshold for part in flat.split(256)]
        return torch.cat(marks).numpy().reshape(frames.shape[:-1])


def calibrate_detector(frames: np.ndarray, wanted: np.ndarray, seed: int = 0) -> Detector:
    """The detector that finds the wanted blobs best, by F1.

    Two filters are fitted by least squares and the better one is kept: the colour of a pixel and
    its contrast to the mean around it, which suits what glows; and any pattern at all, with
    objects and background made equally frequent.

    Args:
        frames: uint8 (N, h, w, 3), real.
        wanted: bool (N, h, w), where the objects are.
        seed: of the pixels that the filters are fitted to.

    Raises:
        DataError: if there is not a single such pixel.
    """
    if not wanted.any():
        raise DataError("no frame shows an object of this class: nothing to calibrate on.")
    images = torch.from_numpy(np.array(frames))
    patches, inside, weight = _sample_patches(images, torch.from_numpy(wanted), seed)
    middle = SIZE // 2
    around = torch.ones(SIZE, SIZE) / SIZE**2
    centre = torch.zeros(SIZE, SIZE)
    centre[middle, middle] = 1
    colours = torch.stack([centre, centre - around])  # (2, SIZE, SIZE)
    reduced = torch.einsum("ncij,kij->nkc", patches, colours).flatten(1)
    simple = torch.einsum("kc,kij->cij", _fit(reduced, inside, weight).view(2, 3), colours)
    pattern = _fit(patches.flatten(1), inside).view(3, SIZE, SIZE)
    best: tuple[float, Detector] | None = None
    for kernel in (simple.numpy(), pattern.numpy()):
        score = torch.cat([_score(part, kernel) for part in images.split(256)]).numpy()
        for level in np.quantile(score[wanted], 1 - np.array(_SHARES_FOUND)):
            matches = match_blobs(score > level, wanted, REACH)
            f1 = 2 * matches.matched.sum() / int(matches.found.sum() + matches.true.sum())
            if best is None or f1 > best[0]:
                best = (float(f1), Detector(kernel, float(level)))
    assert best is not None
    return best[1]


def calibration_frames(
    store: EpisodeStore, split: str, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, h, w, 3) and labels (N, h, w) of random frames of a split.

    Raises:
        DataError: if the data set has no labels.
    """
    if store.labels is None:
        raise DataError(f"{store.root} records no labels of objects.")
    rows = np.concatenate(
        [np.arange(*store.offsets[i : i + 2]) for i in store.split(split).tolist()]
    )
    chosen = np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False)
    chosen.sort()
    return np.asarray(store.frames[chosen]), np.asarray(store.labels[chosen])


def _sample_patches(images: Tensor, wanted: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Patches float32 (P, 3, SIZE, SIZE), whether their middle is wanted, and their weight (P,).

    Half are wanted (or all that there are), half are drawn from the rest; the weights undo that.
    """
    generator = torch.Generator().manual_seed(seed)
    places, weights = [], []
    for mask in (wanted, ~wanted):
        found = mask.nonzero()
        order = torch.randperm(len(found), generator=generator)[: PIXELS // 2]
        places.append(found[order])
        weights.append(torch.full((len(order),), len(found) / max(len(order), 1)))
    n, row, column = torch.cat(places).unbind(1)
    padded = _pad(images)
    steps = torch.arange(SIZE)
    patches = padded[
        n[:, None, None], :, row[:, None, None] + steps[:, None], column[:, None, None] + steps
    ]
    weight = torch.cat(weights)
    return patches.permute(0, 3, 1, 2), wanted[n, row, column].float(), weight / weight.sum()


def _fit(features: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Ridge regression with a free constant, which the threshold takes the place of."""
    if weight is None:
        weight = torch.full_like(target, 1 / len(target))
    x, y, w = features.double(), target.double(), weight.double()[:, None]
    x = x - (w * x).sum(0)
    gram = x.T @ (w * x) + RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, (w * x).T @ y).float()


def _pad(images: Tensor) -> Tensor:
    """uint8 (N, h, w, 3) to float32 (N, 3, h + SIZE - 1, w + SIZE - 1) in 0..1."""
    return F.pad(images.permute(0, 3, 1, 2).float() / 255, (SIZE // 2,) * 4, mode="replicate")


def _score(images: Tensor, kernel: np.ndarray) -> Tensor:
    return F.conv2d(_pad(images), torch.from_numpy(kernel)[None])[:, 0]
