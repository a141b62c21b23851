"""What frames are made from in few-step training: their actions, and what they look back at.

Every frame is there twice: nearly clean, to be looked back at, and noised, to be made. So each
noised frame sees clean ones alone, as in streaming, and no noised frame sees another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from world_model.distillation.boundary import anchored
from world_model.distillation.history import history_of
from world_model.flow import FlowConfig, add_noise, predict_x0, previous_frames
from world_model.network import NextFrameDiffusion


@dataclass(frozen=True)
class Conditions:
    """Everything that the network is given beside the noised frames and their noise levels."""

    actions: Tensor
    """float32 (B, F, K), the action that produced each frame."""
    previous: Tensor | None
    """float32 (B, F, N, count * D), the frames before each, or None."""
    previous_t: Tensor | None
    """float32 (B, F), their noise level."""
    past: Tensor
    """float32 (B', F, N, D), how each frame looks to later ones; B' divides B."""
    past_t: Tensor
    """float32 (B', F), its noise level."""

    @property
    def first(self) -> int:
        """The first frame that can be made: with frames before it, where the network needs them."""
        return 0 if self.previous is None else 1

    def repeat(self, times: int) -> Conditions:
        """The same conditions for so many noised versions of every frame."""
        return Conditions(
            self.actions.repeat(times, 1, 1),
            None if self.previous is None else self.previous.repeat(times, 1, 1, 1),
            None if self.previous_t is None else self.previous_t.repeat(times, 1),
            self.past,
            self.past_t,
        )

    def estimate(
        self,
        network: Callable[..., Tensor],
        x_t: Tensor,
        t: Tensor,
        config: FlowConfig,
        step: Tensor | None = None,
    ) -> Tensor:
        """The network's clean tokens (B, F, N, D) for noised ones at levels t (B, F): f(x_t, t).

        ``step`` (B, F) is how far the sampler is about to step, for networks that are told.
        """
        given = (self.actions, self.previous, self.previous_t, self.past, self.past_t)
        raw = network(x_t, t, *given, *(() if step is None else (step,)))
        x0 = predict_x0(raw, x_t, t, self.previous, config)
        return anchored(x_t, t, x0) if config.blended else x0


def look_back(
    model: NextFrameDiffusion | None,
    latents: Tensor,
    actions: Tensor,
    config: FlowConfig,
    generator: torch.Generator,
    *,
    previous: int,
) -> Conditions:
    """Draws what the frames of a batch look back at.

    Args:
        model: the transformer itself, which imagines a share of it; not needed where
            ``config.own_fraction`` is 0.
        latents: clean tokens, float32 (B, F, N, D).
        actions: float32 (B, F, K), the action that produced each frame.
        config: which share of it is imagined, or junk, and how much it is noised.
        generator: source of every choice, on the latents' device.
        previous: how many frames before each frame the network is given.
    """
    shape, device = latents.shape, latents.device
    history = history_of(model, latents, actions, config, generator)
    levels = torch.rand(2, *shape[:2], generator=generator, device=device).square()
    level, past_t = levels * config.context_noise_max
    past = add_noise(history, torch.randn(shape, generator=generator, device=device), past_t)
    given = given_t = None
    if previous:
        given, given_t = previous_frames(history, previous, level, generator)
    return Conditions(actions, given, given_t, past, past_t)
