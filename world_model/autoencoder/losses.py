"""What the autoencoder is trained for: near the frame, in detail too, with latents of few bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model.autoencoder.coder import Posterior

PYRAMID_LEVELS = 4
"""Resolutions that details are compared at, each half as fine as the one before."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the autoencoder's loss, beside the mean absolute error of numbers in [-1, 1]."""

    kl_weight: float = 1e-6
    """Of the KL divergence from the standard normal distribution: nats a frame, over the numbers of
    a frame. Latent diffusion's value; a larger one makes latents smoother and frames blurrier."""
    detail_weight: float = 1.0
    """Of the difference in detail: between Laplacian pyramids, or to the perceptual network, where
    one is given."""

    def __post_init__(self) -> None:
        for name in ("kl_weight", "detail_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}.")


def autoencoder_loss(
    images: Tensor,
    decoded: Tensor,
    posterior: Posterior,
    config: LossConfig,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Loss of a batch, a scalar.

    Args:
        images: float32 (B, 3, H, W) in [-1, 1].
        decoded: the same shape, what the decoder made of them.
        posterior: distribution of the latents that it was given a sample of.
        config: weights.
        perceptual: distance of two batches of images, (B,); None: that of Laplacian pyramids.
    """
    decoded = decoded.float()
    distance = pyramid_distance if perceptual is None else perceptual
    error = (decoded - images).abs().mean()
    detail = distance(decoded, images).mean()
    kl = posterior.kl().sum() / images.numel()
    return error + config.detail_weight * detail + config.kl_weight * kl


def pyramid_distance(a: Tensor, b: Tensor) -> Tensor:
    """(B,) mean absolute difference of the bands of two batches' Laplacian pyramids, summed.

    A band is what a resolution shows and half of it does not: an edge that is a little blurred
    costs little in pixels and much in its band. The pyramid ends where a side is odd.
    """
    difference = a - b  # the pyramid is linear
    total = torch.zeros(len(a), device=a.device)
    for _ in range(PYRAMID_LEVELS):
        if difference.shape[-1] % 2 or difference.shape[-2] % 2:
            break
        coarse = F.avg_pool2d(difference, 2)
        band = difference - F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        total = total + band.abs().mean(dim=(1, 2, 3))
        difference = coarse
    return total
