"""Discrete causal consistency distillation, the simplest there is.

Noise levels are cut into a grid. From a noised frame the teacher makes one Euler step towards less
noise; what the student makes of the frame before that step shall be what it makes of it afterwards
(Song et al. 2023, arXiv 2303.01469). The student itself, without gradients, is the target, which
Song & Dhariwal 2023 (arXiv 2310.14189) found no worse than an average of it; distances are
pseudo-Huber, also theirs. Frames look back at clean ones, and each has a noise level of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from world_model.distillation.conditions import Conditions
from world_model.distillation.method import LossBatch, Method
from world_model.flow import FlowConfig, add_noise, shift_time
from world_model.network import NextFrameDiffusion


@dataclass(frozen=True)
class ConsistencyConfig:
    """Settings of :class:`DiscreteConsistency`."""

    levels: int = 48
    """Intervals between noise and clean frame."""
    shift: float = 2.0
    """Levels lie closer where there is much noise, see :func:`world_model.flow.shift_time`."""
    start_fraction: float = 0.1
    """Share of frames at pure noise, where sampling starts."""
    huber: float = 0.3
    """Where the distance turns from square to linear, in standard deviations."""

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise ValueError(f"levels must be at least 2, not {self.levels}.")


class DiscreteConsistency(Method):
    """Discrete consistency distillation.

    Args:
        config: how the student is trained to look back; its parameterisation.
        teacher: the many-step network, never changed.
        teacher_config: its parameterisation.
        settings: of the method.
    """

    replayable = True

    def __init__(
        self,
        config: FlowConfig,
        teacher: NextFrameDiffusion | Callable[..., Tensor],
        teacher_config: FlowConfig,
        settings: ConsistencyConfig | None = None,
    ) -> None:
        super().__init__(config)
        self.teacher_config = teacher_config
        self.settings = settings or ConsistencyConfig()
        self._teacher = (teacher,)  # in a tuple: no part of what is trained or saved

    def description(self) -> dict[str, Any]:
        """See :class:`Method`."""
        return asdict(self.settings)

    def loss(
        self,
        network: Callable[..., Tensor],
        model: Callable[..., Tensor],
        batch: LossBatch,
        conditions: Conditions,
    ) -> Tensor:
        """See :class:`Method`."""
        settings, generator, latents = self.settings, batch.generator, batch.latents
        shape, device = latents.shape, latents.device
        grid = shift_time(torch.linspace(0, 1, settings.levels + 1, device=device), settings.shift)
        level = torch.randint(1, settings.levels + 1, shape[:2], generator=generator, device=device)
        start = torch.rand(shape[:2], generator=generator, device=device) < settings.start_fraction
        level = torch.where(start, settings.levels, level)
        t, less = grid[level], grid[level - 1]
        x_t = add_noise(latents, torch.randn(shape, generator=generator, device=device), t)
        with torch.no_grad():
            clean = conditions.estimate(self._teacher[0], x_t, t, self.teacher_config)
            x_less = clean + (less / t)[..., None, None] * (x_t - clean)  # one Euler step
            target = conditions.estimate(model, x_less, less, self.config)
        squares = (conditions.estimate(network, x_t, t, self.config) - target).square()
        if batch.weights is not None:
            squares = squares * batch.weights
        distance = (squares + settings.huber**2).sqrt() - settings.huber
        return distance[:, conditions.first :].mean()
