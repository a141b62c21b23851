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


def rotation(frame_index: Tensor, spatial: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines that rotate the tokens of the given frames.

    Args:
        frame_index: int64 (B, F), absolute positions in time.
        spatial: output of :func:`spatial_angles`, float64 (N, S).
        rates: output of :func:`time_frequencies`, float64 (T,).

    Returns:
        Two float32 tensors (B, F, N, 1, head_dim // 2), broadcasting over heads.
    """
    time = frame_index.to(torch.float64)[..., None] * rates
    batch, frames = frame_index.shape
    tokens = spatial.shape[0]
    angles = torch.cat(
        [
            time[:, :, None, :].expand(batch, frames, tokens, -1),
            spatial[None, None].expand(batch, frames, -1, -1),
        ],
        dim=-1,
    )[..., None, :]
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (first half, second half) of the last dimension; x is (B, F, N, heads, d)."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    turned = torch.addcmul(first * cos, second, sin, value=-1)
    return torch.cat([turned, torch.addcmul(second * cos, first, sin)], dim=-1)
