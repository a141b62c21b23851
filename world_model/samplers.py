"""Samplers: from noise to a frame, given a function that estimates the clean frame.

Stateless: a sampler is a function of the noise, the grid of noise levels and the estimator.
Euler and DPM-Solver++(2M) follow the flow of a network that estimates the *mean* of all clean
frames. The consistency sampler is for one that makes a clean frame at once, and then betters it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from world_model.flow import shift_time

Draw = Callable[[int], Tensor]
"""``step -> noise`` of unit variance, (B, ..., D); step 0 is where sampling starts."""
Estimate = Callable[[Tensor, float, int], Tensor]
"""``(x_t, t, step) -> x0``, the network's estimate of the clean tokens."""


def time_grid(steps: int, shift: float = 1.0) -> list[float]:
    """``steps + 1`` noise levels from 1 down to 0, shifted towards noise for ``shift > 1``.

    >>> time_grid(2)
    [1.0, 0.5, 0.0]
    """
    if steps < 1:
        raise ValueError(f"sampling_steps must be at least 1, not {steps}.")
    grid = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    return [float(t) for t in shift_time(grid, shift)]


def euler(draw: Draw, grid: list[float], estimate: Estimate) -> Tensor:
    """Euler steps along the flow ``dx/dt = (x_t - x0) / t``.

    Args:
        draw: gives x at t = 1.
        grid: noise levels, from :func:`time_grid`.
        estimate: see :data:`Estimate`.

    Returns:
        The clean tokens (B, ..., D). With one step, the estimate itself.
    """
    x = draw(0)
    for step, (t, following) in enumerate(pairwise(grid)):
        x0 = estimate(x, t, step)
        # x + (following - t) * (x - x0) / t, written so that following = 0 gives x0 exactly
        x = x0 + (following / t) * (x - x0)
    return x


def dpmpp_2m(draw: Draw, grid: list[float], estimate: Estimate) -> Tensor:
    """DPM-Solver++(2M) for the flow's schedule (alpha = 1 - t, sigma = t).

    Second-order multistep in the clean estimate; the first and the last step are first-order.
    Lu et al. 2022, arXiv 2211.01095, algorithm 2, with lambda = log(alpha / sigma). At t = 1
    lambda is minus infinity, so the first step is an Euler step, which is exact there.

    Args:
        draw: gives x at t = 1.
        grid: noise levels, from :func:`time_grid`.
        estimate: see :data:`Estimate`.

    Returns:
        The clean tokens (B, ..., D).
    """
    x = draw(0)
    previous_x0: Tensor | None = None
    previous_h = 0.0
    last = len(grid) - 2
    for step, (t, following) in enumerate(pairwise(grid)):
        x0 = estimate(x, t, step)
        h = _log_snr(following) - _log_snr(t) if following > 0 and t < 1 else float("inf")
        direction = x0
        if previous_x0 is not None and step < last and previous_h not in (0.0, float("inf")):
            ratio = previous_h / h
            direction = x0 + (x0 - previous_x0) / (2 * ratio)
        # (sigma_s / sigma_t) x - alpha_s (e^-h - 1) D, which for this schedule is
        # D (1 - s) (1 - e^-h) + (s / t) x; with e^-h = s (1 - t) / (t (1 - s)) it has no pole.
        weight = (1 - following) - following * (1 - t) / t
        x = (following / t) * x + weight * direction
        previous_x0, previous_h = x0, h
    return x


def consistency(draw: Draw, grid: list[float], estimate: Estimate) -> Tensor:
    """Estimates a clean frame, noises it anew to the next level, estimates it again, ...

    Multistep consistency sampling (Song et al. 2023, arXiv 2303.01469, algorithm 1): for networks
    whose estimate is a sample, not a mean. With one step it is the same as all the others.

    Args:
        draw: gives x at t = 1, and the noise of every further step.
        grid: noise levels, from :func:`time_grid`; the last one, 0, is not visited.
        estimate: see :data:`Estimate`.

    Returns:
        The clean tokens (B, ..., D).
    """
    x0 = estimate(draw(0), grid[0], 0)
    for step, t in enumerate(grid[1:-1], start=1):
        x0 = estimate((1 - t) * x0 + t * draw(step), t, step)
    return x0


def _log_snr(t: float) -> float:
    """``log(alpha / sigma)`` of the flow at t in (0, 1)."""
    return float(torch.logit(torch.tensor(1 - t, dtype=torch.float64)))


SAMPLERS: dict[str, Callable[[Draw, list[float], Estimate], Tensor]] = {
    "euler": euler,
    "dpmpp2m": dpmpp_2m,
    "consistency": consistency,
}


def draws_of(name: str, steps: int) -> int:
    """How often the sampler of that name draws noise in so many steps."""
    return steps if name == "consistency" else 1


def get_sampler(name: str) -> Callable[[Draw, list[float], Estimate], Tensor]:
    """The sampler of that name.

    Raises:
        ValueError: if there is none; the message lists those there are.
    """
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}; there are: {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]
