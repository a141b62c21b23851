"""What the trainer asks of a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from world_model.distillation.conditions import Conditions, look_back
from world_model.flow import FlowConfig
from world_model.network import NextFrameDiffusion


@dataclass(frozen=True)
class LossBatch:
    """One training step's data."""

    latents: Tensor
    """Clean tokens, float32 (B, F, N, D)."""
    actions: Tensor
    """float32 (B, F, K), the action that produced each frame."""
    weights: Tensor | None
    """Loss weight of every number, as latents, mean about 1; None where all count the same."""
    generator: torch.Generator
    """Source of everything that is drawn in the step."""
    step: int
    """Training steps done before this one."""


class Method(nn.Module):
    """A loss of few-step training; its parameters, if it has any, are trained with the network.

    Args:
        config: how the student is trained to look back; its parameterisation.
    """

    replayable = False
    """Whether every step does the same, but for its data and random numbers, without waiting for
    the device: then it may be replayed, see :mod:`world_model.training.step_graph`."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config

    def description(self) -> dict[str, Any]:
        """JSON-able: all that a run which is continued must have in common with its beginning."""
        return {}

    def forward(
        self, network: Callable[..., Tensor], model: NextFrameDiffusion, batch: LossBatch
    ) -> Tensor:
        """The loss of one step, a scalar, with what the frames look back at drawn anew.

        Args:
            network: the transformer as it is trained: compiled, or spread over processes.
            model: the transformer itself, for passes without gradients.
            batch: the data.
        """
        conditions = look_back(
            model,
            batch.latents,
            batch.actions,
            self.config,
            batch.generator,
            previous=model.config.previous_frames,
        )
        return self.loss(network, model, batch, conditions)

    def loss(
        self,
        network: Callable[..., Tensor],
        model: Callable[..., Tensor],
        batch: LossBatch,
        conditions: Conditions,
    ) -> Tensor:
        """The loss under given conditions, a scalar; see :meth:`forward`."""
        raise NotImplementedError
