"""How near a picture is to another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
"""Pixels along the side of SSIM's window, and the width of the Gaussian in it."""
K_1, K_2 = 0.01, 0.03
"""SSIM's constants, which keep its fractions finite."""


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error in (0..255) units; at most 100."""
    return 100.0 if mse < 1e-5 else 10 * math.log10(255.0**2 / mse)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of pictures, (B,), at most 1 (Wang et al. 2004).

    The mean over colours and over all places of the window within the picture; pictures smaller
    than the window are seen through a smaller one.

    Args:
        a: uint8 (B, H, W, C).
        b: the same shape.
    """
    size = min(WINDOW, *a.shape[1:3])
    down, across = (_window_at_every_place(side, size, a.device) for side in a.shape[1:3])

    def blurred(x: Tensor) -> Tensor:
        return down.T @ x @ across

    # One colour of one picture after another; float64, as variances are small differences.
    x, y = (p.movedim(-1, 1).flatten(0, 1).double() for p in (a, b))
    mean_x, mean_y = blurred(x), blurred(y)
    variance_x = blurred(x * x) - mean_x**2
    variance_y = blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    c_1, c_2 = (K_1 * 255) ** 2, (K_2 * 255) ** 2
    brightness = (2 * mean_x * mean_y + c_1) / (mean_x**2 + mean_y**2 + c_1)
    structure = (2 * covariance + c_2) / (variance_x + variance_y + c_2)
    return (brightness * structure).mean((1, 2)).unflatten(0, (len(a), a.shape[-1])).mean(1)


def _window_at_every_place(side: int, size: int, device: torch.device) -> Tensor:
    """float64 (side, side - size + 1), the Gaussian at each place where it lies within ``side``.

    A product with it is many times as fast on a CPU as a convolution of one channel.
    """
    places = torch.arange(side - size + 1, dtype=torch.float64, device=device)
    away = torch.arange(side, device=device)[:, None] - places - (size - 1) / 2
    weights = torch.exp(-0.5 * (away / SIGMA) ** 2) * (away.abs() <= (size - 1) / 2)
    return weights / weights.sum(0)
