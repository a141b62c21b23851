"""How far imagined frames are from real ones, in grey levels and decibels, and how alike."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from world_model.image_quality import ssim

SMALLEST_MSE = 1 / 12
"""Squared error of rounding to whole grey levels; PSNR ends here, at 58.9 dB."""
CHANGE = 10
"""Grey levels by which a channel of a pixel must differ to count as changed."""


def squared_error(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Mean squared error of each frame, float64 (...), in squared grey levels.

    Args:
        a: uint8 (..., h, w, 3).
        b: uint8, broadcast against ``a``.
        mask: bool (..., h, w), the pixels that count; default: all. NaN where there are none.
    """
    difference = a.astype(np.float32) - b.astype(np.float32)
    error = np.square(difference, out=difference).mean(-1)
    if mask is None:
        return error.mean((-2, -1), dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (error * mask).sum((-2, -1), dtype=np.float64) / mask.sum((-2, -1))


def psnr(mse: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of mean squared errors.

    >>> round(float(psnr(np.array(255.0**2 / 100))), 6)
    20.0
    """
    return 10 * np.log10(255.0**2 / np.maximum(mse, SMALLEST_MSE))


def similarity(a: np.ndarray, b: np.ndarray, batch: int = 64) -> np.ndarray:
    """Structural similarity (SSIM) of each frame, float64 (...), at most 1: equal.

    Wang et al. 2004, by :func:`world_model.image_quality.ssim`: a Gaussian window of 11x11 pixels
    and a width of 1.5, constants 0.01 and 0.03, the mean over the three colours and all places of
    the window within the frame.

    Args:
        a: uint8 (..., h, w, 3).
        b: uint8, broadcast against ``a``.
        batch: frames at a time.
    """
    shape = np.broadcast_shapes(a.shape, b.shape)
    flat = (np.broadcast_to(x, shape).reshape(-1, *shape[-3:]) for x in (a, b))
    # Copies, since torch warns of what cannot be written to.
    parts = zip(*(torch.from_numpy(x.copy()).split(batch) for x in flat), strict=True)
    return torch.cat([ssim(x, y) for x, y in parts]).numpy().reshape(shape[:-3])


def changed(frames: np.ndarray, before: np.ndarray, threshold: int = CHANGE) -> np.ndarray:
    """bool (..., h, w), the pixels that differ from ``before`` by more than ``threshold``."""
    difference = np.abs(frames.astype(np.int16) - before.astype(np.int16))
    return difference.max(-1) > threshold


def energy_score(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Energy score of ensembles, float64 (N, H), in grey levels; lower is better.

    ``mean |x_s - y| - 1/2 mean |x_s - x_s'|`` over different samples, with root mean square
    distances over the numbers of a frame. It is proper: no forecast does better on average than
    the true distribution, so blur earns nothing. Of a single frame it is the distance itself.

    Args:
        samples: uint8 (N, S, H, h, w, 3).
        truth: uint8 (N, H, h, w, 3).
    """
    count = samples.shape[1]
    error = np.mean([_distance(samples[:, s], truth) for s in range(count)], axis=0)
    if count == 1:
        return error
    pairs = [(s, t) for s in range(count) for t in range(s)]
    spread = np.mean([_distance(samples[:, s], samples[:, t]) for s, t in pairs], axis=0)
    return error - spread / 2


def blur(frames: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Frames uint8 (..., h, w, 3) under a Gaussian of ``sigma`` pixels: a forecast of no detail."""
    radius = int(np.ceil(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    flat = torch.from_numpy(frames.reshape(-1, *frames.shape[-3:])).permute(0, 3, 1, 2)
    blurred = []
    for part in flat.split(256):
        x = part.float().flatten(0, 1)[:, None]
        x = F.pad(x, (radius,) * 4, mode="replicate")
        x = F.conv2d(F.conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
        blurred.append(x.unflatten(0, part.shape[:2])[:, :, 0].round().to(torch.uint8))
    return torch.cat(blurred).permute(0, 2, 3, 1).numpy().reshape(frames.shape)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(squared_error(a, b))
