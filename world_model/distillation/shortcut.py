"""Shortcut forcing: a network that is told how far the sampler will step, and learns to step far.

For steps without length it is taught the mean of all clean frames, as every many-step network. A
step of some length shall lead where two steps of half the length lead, and those the network can
take already: no teacher is needed (Frans et al. 2024, *One Step Diffusion via Shortcut Models*,
arXiv 2410.12557; in predictions of the clean frame with a noise level per frame, as here: Hafner et
al. 2025, *Training Agents Inside of Scalable World Models*, arXiv 2509.24527). With velocities
``v = (x - x_0) / t`` of two half steps from x at t to x' at t - d / 2, a step of d aims at

    x_0 = x - t (v + v') / 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from world_model.distillation.conditions import Conditions
from world_model.distillation.method import LossBatch, Method
from world_model.flow import FlowConfig, add_noise, predict_velocity, sample_times
from world_model.network import NextFrameDiffusion


@dataclass(frozen=True)
class ShortcutConfig:
    """Settings of :class:`Shortcut`."""

    levels: int = 5
    """How many lengths there are: 1, 1/2, 1/4, ...; half of the shortest is one without length."""
    shortcut_fraction: float = 0.6
    """Share of frames that learn steps of some length; the others learn the mean."""
    start_fraction: float = 0.4
    """Share of those that step from pure noise, where sampling starts."""

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1, not {self.levels}.")
        for name in ("shortcut_fraction", "start_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {getattr(self, name)}.")


class Shortcut(Method):
    """Shortcut forcing.

    Args:
        config: how the student is trained to look back; its parameterisation.
        settings: of the method.
    """

    replayable = True

    def __init__(self, config: FlowConfig, settings: ShortcutConfig | None = None) -> None:
        super().__init__(config)
        self.settings = settings or ShortcutConfig()
        # Steps without length are learned as in the base training, from its noise levels.
        self._base = replace(config, loss="x_ramp", noise_fraction=0.1)

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
        latents, generator = batch.latents, batch.generator
        shape, device = latents.shape, latents.device
        t, step = self._draw(shape[:2], generator)
        x_t = add_noise(latents, torch.randn(shape, generator=generator, device=device), t)
        with torch.no_grad():
            half = step / 2
            # Half of the shortest step is none.
            told = torch.where(step <= 2.0 ** (1 - self.settings.levels), 0.0, half)
            first = conditions.estimate(model, x_t, t, self.config, told)
            velocity = predict_velocity(first, x_t, t)
            middle, left = x_t - half[..., None, None] * velocity, t - half
            second = conditions.estimate(model, middle, left, self.config, told)
            velocity = (velocity + predict_velocity(second, middle, left)) / 2
            further = x_t - t[..., None, None] * velocity
            target = torch.where((step > 0)[..., None, None], further, latents)
        squares = (conditions.estimate(network, x_t, t, self.config, step) - target).square()
        if batch.weights is not None:
            squares = squares * batch.weights
        squares = squares * (1 - 0.9 * t)[..., None, None]
        return squares[:, conditions.first :].mean()

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise levels and lengths of steps (B, F); a step starts at a multiple of its length."""
        settings, device = self.settings, generator.device

        def share(fraction: float) -> Tensor:
            return torch.rand(shape, generator=generator, device=device) < fraction

        level = torch.randint(settings.levels, shape, generator=generator, device=device)
        count = 2.0**level  # steps of this length from noise to clean frame
        place = torch.rand(shape, generator=generator, device=device) * count
        begin = torch.where(share(settings.start_fraction), 1.0, (place.floor() + 1) / count)
        stepping = share(settings.shortcut_fraction)
        t = torch.where(stepping, begin, sample_times(shape, self._base, generator))
        return t, torch.where(stepping, 1 / count, 0.0)


def told_step_sizes(network: NextFrameDiffusion) -> NextFrameDiffusion:
    """A copy that is told the lengths of steps, and does not heed them yet; itself if it is."""
    if network.config.step_size:
        return network
    told = NextFrameDiffusion(replace(network.config, step_size=True), network.embed_action.spec)
    weights = {**told.state_dict(), **network.state_dict()}
    told.load_state_dict(weights)
    return told.eval().requires_grad_(False)
