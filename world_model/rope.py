"""Rotary position embedding over (time, row, column).

Keys are rotated once by their absolute frame index and then cached: a rotated dot product
depends on differences of positions only, so a ring buffer of rotated keys behaves like a
sliding window. Angles are computed in float64, since frame indices grow without bound.
"""

from __future__ import annotations

import torch
from torch import Tensor


def split_head_dim(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's dimensions rotate with time, row and column: 8 / 28 / 28 of 64."""
    time = max(2, head_dim // 8 // 2 * 2)
    row = (head_dim - time) // 4 * 2
    return time, row, head_dim - time - row


def frequencies(dim: int, theta: float) -> Tensor:
    """float64 (dim // 2,) angular frequencies ``theta ** (-2 i / dim)``."""
    return theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def spatial_angles(grid: tuple[int, int], head_dim: int, theta: float) -> Tensor:
    """float64 (rows * columns, row_pairs + column_pairs) angles of a frame's tokens."""
    _, row_dim, column_dim = split_head_dim(head_dim)
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing="ij",
    )
    by_row = rows.flatten()[:, None] * frequencies(row_dim, theta)
    by_column = columns.flatten()[:, None] * frequencies(column_dim, theta)
    return torch.cat([by_row, by_column], dim=-1)


def time_frequencies(head_dim: int, theta: float) -> Tensor:
    """float64 (time_pairs,) angular frequencies of the dimensions that rotate with time."""
    return frequencies(split_head_dim(head_dim)[0], theta)


def turns(angles: Tensor) -> Tensor:
    """float32 (2, *angles.shape): cosines and sines of float64 angles."""
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotation(frame_index: Tensor, spatial: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines that rotate the tokens of the given frames.

    Args:
        frame_index: int64 (B, F), absolute positions in time.
        spatial: :func:`turns` of :func:`spatial_angles`, float32 (2, N, S): always the same.
        rates: output of :func:`time_frequencies`, float64 (T,).

    Returns:
        Two float32 tensors (B, F, N, 1, head_dim // 2), broadcasting over heads.
    """
    batch, frames = frame_index.shape
    size = (2, batch, frames, spatial.shape[1], -1)
    time = turns(frame_index.to(torch.float64)[..., None] * rates)  # (2, B, F, T)
    both = [time[:, :, :, None].expand(size), spatial[:, None, None].expand(size)]
    cos, sin = torch.cat(both, dim=-1)[..., None, :]
    return cos, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (first half, second half) of the last dimension; x is (B, F, N, heads, d)."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    turned = torch.addcmul(first * cos, second, sin, value=-1)
    return torch.cat([turned, torch.addcmul(second * cos, first, sin)], dim=-1)
