"""A flow network read as a TrigFlow network, the parameterisation of continuous consistency.

    x_t  = cos(t) x_0 + sin(t) z,  t in [0, pi/2];   D = sin t + cos t
    s    = sin t / D,  x_flow = x_t / D              what the flow network is asked
    F    = (cos(t) x_t - x_0) / sin(t)               from its clean estimate x_0
    x_0  = cos(t) x_t - sin(t) F                     the consistency function f(x_t, t)

with data of unit standard deviation (Lu & Song 2024, arXiv 2410.11081; the conversion as in
SANA-Sprint, arXiv 2503.09641). It is exact: ``F`` is the velocity of the TrigFlow path.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

HALF_PI = math.pi / 2
MIN_T = 0.02
"""Smallest t that training visits: F divides by sin t."""


def to_flow(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Noised tokens (B, F, N, D) and TrigFlow times (B, F) as the flow network knows them."""
    total = t.sin() + t.cos()
    return x_t / total[..., None, None], t.sin() / total


def noised(x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """``cos(t) x_0 + sin(t) z``; t (B, F) for tokens (B, F, N, D)."""
    t = t[..., None, None]
    return t.cos() * x0 + t.sin() * z


def velocity(estimate: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, t: Tensor) -> Tensor:
    """F of a flow network.

    Args:
        estimate: ``(x_flow, s) -> x_0``, the flow network's clean tokens.
        x_t: float (B, F, N, D).
        t: float (B, F), TrigFlow times in [MIN_T, pi/2].
    """
    x0 = estimate(*to_flow(x_t, t))
    t = t[..., None, None]
    return (t.cos() * x_t - x0) / t.sin()


def sample_times(
    shape: tuple[int, ...], mean: float, std: float, generator: torch.Generator
) -> Tensor:
    """``t = arctan(exp(n)), n ~ N(mean, std)``, at least :data:`MIN_T`."""
    n = mean + std * torch.randn(shape, generator=generator, device=generator.device)
    return n.exp().atan().clamp(min=MIN_T)
