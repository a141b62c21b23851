"""Images cut into square patches, one token each, and put together again."""

from __future__ import annotations

from torch import Tensor


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """(..., rows * p, columns * p, C) to (..., rows * columns, p * p * C), with p = patch_size."""
    p = patch_size
    patches = images.unflatten(-3, (-1, p)).unflatten(-2, (-1, p))
    return patches.transpose(-4, -3).flatten(-3).flatten(-3, -2)


def unpatchify(tokens: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """Inverse of :func:`patchify`, for a grid of so many rows and columns of tokens."""
    p, channels = patch_size, tokens.shape[-1] // patch_size**2
    patches = tokens.unflatten(-1, (p, p, channels)).unflatten(-4, grid)
    return patches.transpose(-4, -3).flatten(-3, -2).flatten(-4, -3)
