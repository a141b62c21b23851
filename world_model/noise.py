"""Counter-based noise: every number is a pure function of (seed, frame, purpose, step, place).

An integer hash picks entries of a fixed float32 table of normal quantiles, so a CPU and a GPU
draw the same bits, and the noise of a stream depends neither on the batch it sits in nor on
snapshots, resets or speculation around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import cache

import torch
from torch import Tensor

TABLE_BITS = 16


class Purpose(IntEnum):
    """What the noise is for; each has keys of its own."""

    SAMPLE = 1
    """The noise that a frame is sampled from."""
    CONTEXT = 2
    """The noise on a committed frame when later frames look back at it."""
    PREVIOUS = 3
    """The noise on the frame before, where the network is given it."""
    REWARD = 4
    """The draw of the reward."""
    TERMINATION = 5
    """The draw of termination."""


def stream_keys(seeds: Tensor, frame_index: Tensor, purpose: Purpose, step: int = 0) -> Tensor:
    """int64 (B,) keys, one per stream.

    Args:
        seeds: int64 (B,), one per stream.
        frame_index: int64 (B,), the frame that the noise belongs to.
        purpose: what it is for.
        step: sampling step, for samplers that draw anew.
    """
    key = _mix64(seeds)
    key = _mix64(key ^ frame_index)
    return _mix64(key ^ (int(purpose) << 32 | step))


def normals(
    seeds: Tensor,
    wanted: Sequence[tuple[Tensor, Purpose, int]],
    shape: tuple[int, ...],
    table: Tensor | None = None,
) -> list[Tensor]:
    """Several draws in one go: the numbers of :func:`normal` one by one, for less overhead.

    Args:
        seeds: int64 (B,), one per stream.
        wanted: frame index, int64 (B,), purpose and sampling step of each draw, as
            :func:`stream_keys` takes them.
        shape: of each draw.
        table: :func:`quantiles`, which compiled code must be given: it would compute them anew.

    Returns:
        One float32 ``(B, *shape)`` for each of ``wanted``.
    """
    frames = torch.stack([index for index, _, _ in wanted])
    key = _mix64(_mix64(seeds) ^ frames)
    salts = [int(purpose) << 32 | step for _, purpose, step in wanted]
    keys = _mix64(torch.stack([part ^ salt for part, salt in zip(key, salts, strict=True)]))
    return list(normal(keys.flatten(), shape, table).unflatten(0, keys.shape))


def normal(keys: Tensor, shape: tuple[int, ...], table: Tensor | None = None) -> Tensor:
    """Standard normal numbers, float32 ``(B, *shape)``, from keys (B,); see :func:`normals`."""
    count = 1
    for size in shape:
        count *= size
    bits = _hash32(keys, (count + 1) // 2)
    # Each 32-bit hash gives two 16-bit table entries.
    entries = torch.stack([bits & 0xFFFF, (bits >> 16) & 0xFFFF], dim=-1)
    table = quantiles(keys.device) if table is None else table
    # Unlike indexing it takes int32 as it is, and on a CPU is five times as fast.
    numbers = torch.index_select(table, 0, entries.flatten()).view(len(keys), -1)
    return numbers[:, :count].reshape(-1, *shape)


def uniform(keys: Tensor) -> Tensor:
    """One uniform number in [0, 1) per key, float32 (B,)."""
    return (_hash32(keys, 1)[:, 0].to(torch.int64) & 0xFFFFFF).to(torch.float32) / 2**24


def _mix64(x: Tensor) -> Tensor:
    """splitmix64's finaliser (Steele, Lea and Flood 2014) on int64, wrapping around."""
    x = x + _signed64(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _signed64(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed64(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _hash32(keys: Tensor, count: int) -> Tensor:
    """int32 (B, count): the ``lowbias32`` hash (Wellons) of a counter, keyed by 64 bits."""
    low = keys.to(torch.int32)  # wraps
    high = (keys >> 32).to(torch.int32)
    counter = torch.arange(count, dtype=torch.int32, device=keys.device)
    x = counter[None] * _signed32(0x9E3779B1) + low[:, None]
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * _signed32(0x7FEB352D) + high[:, None]
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * _signed32(0x846CA68B)
    return x ^ ((x >> 16) & 0xFFFF)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed64(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _signed32(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


@cache
def quantiles(device: torch.device) -> Tensor:
    """float32 (2**16,) quantiles of the standard normal distribution, scaled to variance 1."""
    middles = (torch.arange(2**TABLE_BITS, dtype=torch.float64) + 0.5) / 2**TABLE_BITS
    quantiles = torch.special.ndtri(middles)
    return (quantiles / quantiles.square().mean().sqrt()).to(torch.float32).to(device)
