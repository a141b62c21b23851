"""Training for one step: samples of the next frame, judged by a proper scoring rule.

The regression losses of :mod:`world_model.flow` teach the network the mean of all possible clean
frames, so that sampling has to find one of them step by step, and a single step is a blur. Here the
network itself is the sampler: from pure noise it makes a frame, twice from different noise, and the
energy score rewards pairs that are as far from each other as from what really happened:

    S = (d(x, y) + d(x', y)) / 2  -  d(x, x') / 2,     x, x' imagined,  y real

Its expectation is smallest when x has the distribution of y, for distances d that are norms
(Gneiting & Raftery 2007). De Bortoli et al. 2025 (*Distributional Diffusion Models with Scoring
Rules*, arXiv 2502.02483) train diffusion models so, to sample in few steps. As distance we take the
sum of the norms over squares of the frame, small ones, in which a few pixels count, and larger
ones, which hold things together: a sum of scores of parts is a proper score too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model.distillation.conditions import Conditions
from world_model.distillation.method import LossBatch, Method
from world_model.flow import FlowConfig, add_noise, sample_times
from world_model.network_config import CHANNELS

SIZES = 3
"""Sizes of the squares, each twice as wide as the one before."""
SMOOTH = 1e-4
"""Added to mean squares before the root, in squared standard deviations: below the rounding of
pixels, and gradients stay finite."""


class EnergyScore(Method):
    """Energy score of frames made in one step, from every noise level that training meets.

    From pure noise, a share ``config.noise_fraction`` of the frames, that is all of sampling; from
    less, it is what a further step can mend.

    Args:
        config: what is predicted, and from which noise levels.
        grid: rows and columns of tokens.
        parts: where tokens are square patches of RGB pixels: into how many rows and columns a patch
            is cut for the smallest squares.
    """

    replayable = True

    def __init__(self, config: FlowConfig, grid: tuple[int, int], parts: int = 1) -> None:
        super().__init__(config)
        self.grid, self.parts = grid, parts

    def loss(
        self,
        network: Callable[..., Tensor],
        model: Callable[..., Tensor] | None,
        batch: LossBatch,
        conditions: Conditions,
    ) -> Tensor:
        """See :class:`Method`; it needs no pass without gradients."""
        latents, generator = batch.latents, batch.generator
        shape, device = latents.shape, latents.device
        t = sample_times(shape[:2], self.config, generator)
        noise, fresh = torch.randn(2, *shape, generator=generator, device=device)
        # Twins must differ in what tells nothing of the truth. Below t = 1 their noise does tell,
        # so they share it, and the score becomes the distance to the truth alone.
        twin = torch.where((t == 1)[..., None, None], fresh, noise)
        x_t = torch.cat([add_noise(latents, noise, t), add_noise(latents, twin, t)])
        twice = conditions.repeat(2)
        one, other = twice.estimate(network, x_t, t.repeat(2, 1), self.config).chunk(2)
        to_real = self._distance(one, latents, batch) + self._distance(other, latents, batch)
        score = (to_real - self._distance(one, other, batch)) / 2
        return score[:, conditions.first :].mean()

    def _distance(self, a: Tensor, b: Tensor, batch: LossBatch) -> Tensor:
        return distance(a, b, batch.weights, self.grid, self.parts)


def distance(
    a: Tensor, b: Tensor, weights: Tensor | None, grid: tuple[int, int], parts: int
) -> Tensor:
    """Root mean square difference inside a square, averaged over squares of :data:`SIZES` sizes.

    Args:
        a: (B, F, N, D).
        b: as a.
        weights: as a, or None.
        grid: rows and columns of tokens, whose product is N.
        parts: rows and columns of the smallest squares within a token.

    Returns:
        (B, F).
    """
    squares = (a - b).square()
    if weights is not None:
        squares = squares * weights
    patch = round((a.shape[-1] / CHANNELS) ** 0.5) if parts > 1 else 1
    cut = squares.unflatten(-1, (parts, patch // parts, parts, -1)).mean(dim=(-3, -1))
    cut = cut.flatten(0, 1).unflatten(1, grid)  # (B * F, rows, columns, parts, parts)
    errors = cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    total = torch.zeros(len(errors), device=a.device)
    for size in range(SIZES):
        if size:
            errors = F.avg_pool2d(errors[:, None], 2, ceil_mode=True, count_include_pad=False)[:, 0]
        total = total + (errors + SMOOTH).sqrt().mean(dim=(1, 2))
    return total.unflatten(0, a.shape[:2]) / SIZES
