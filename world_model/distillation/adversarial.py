"""An adversarial stage: the frozen teacher's features tell real frames from made ones.

Consistency alone leaves one step a little soft. Here frames that the student makes are noised again
and shown to the teacher, whose blocks know what frames look like; small heads on some of its blocks
learn to tell them from recorded frames treated alike, and the student learns to deceive them
(hinge losses; SANA-Sprint, arXiv 2503.09641; the paper's NFD+). Recorded frames under another's
actions count as made ones too: what follows the actions badly shall be told as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from world_model.distillation import trigflow
from world_model.distillation.conditions import Conditions
from world_model.errors import ConfigError
from world_model.flow import FlowConfig
from world_model.network import NextFrameDiffusion


@dataclass(frozen=True)
class AdversarialConfig:
    """Settings of :class:`Adversary`."""

    weight: float = 0.5
    """Weight of the student's adversarial loss, next to 1 for the method's own."""
    heads: int = 4
    """Blocks of the teacher that carry a head, evenly spaced (all, where there are fewer)."""
    width: int = 64
    """Inner width of a head."""
    time_mean: float = -0.6
    """Mean of log(tan t) of the noise on what is judged."""
    time_std: float = 1.0
    """Its standard deviation."""
    start_fraction: float = 0.5
    """Share of frames that are made from pure noise, so that one step learns too."""

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width < 1:
            raise ValueError(f"heads={self.heads} and width={self.width} must be at least 1.")


class Head(nn.Module):
    """Judges every token of one block's features."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, N, features) to (B, F, N)."""
        return self.layers(features.float()).squeeze(-1)


class Adversary(nn.Module):
    """Heads on a frozen teacher, and the two losses that they are part of.

    Args:
        teacher: the many-step network, never changed.
        teacher_config: its parameterisation.
        settings: of the stage.
    """

    def __init__(
        self,
        teacher: NextFrameDiffusion,
        teacher_config: FlowConfig,
        settings: AdversarialConfig | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings or AdversarialConfig()
        self._teacher = (teacher,)  # in a tuple: no part of what is trained or saved
        self.teacher_config = teacher_config
        count, layers = min(self.settings.heads, teacher.config.layers), teacher.config.layers
        self.places = [round((i + 1) * layers / count) - 1 for i in range(count)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a run repeats itself
            self.heads = nn.ModuleList(
                Head(teacher.config.width, self.settings.width) for _ in self.places
            )

    def losses(
        self,
        real: Tensor,
        made: Tensor,
        conditions: Conditions,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """What the student and what the heads have to learn from one batch.

        Args:
            real: recorded clean tokens (B, F, N, D).
            made: the student's, with its gradient.
            conditions: what both follow.
            generator: source of the noise.

        Returns:
            The student's loss, without a gradient for the heads, and the heads' loss, without one
            for the student: two scalars.

        Raises:
            ConfigError: if there is only one window, which leaves no actions to swap.
        """
        settings, first = self.settings, conditions.first
        if len(real) < 2:
            raise ConfigError(
                "the adversarial stage needs two windows or more in each process, to swap their "
                "actions. Choose a larger batch_size."
            )
        t = trigflow.sample_times(
            real.shape[:2], settings.time_mean, settings.time_std, generator
        )  # fmt: skip
        noise = torch.randn(real.shape, generator=generator, device=real.device)

        def features(x0: Tensor, under: Conditions) -> list[Tensor]:
            seen = self._features(*trigflow.to_flow(trigflow.noised(x0, noise, t), t), under)
            return [part[:, first:] for part in seen]

        frozen = [
            {name: value.detach() for name, value in head.named_parameters()}
            for head in self.heads
        ]  # fmt: skip
        deceived = [
            functional_call(head, weights, (part,))
            for head, weights, part in zip(
                self.heads, frozen, features(made, conditions), strict=True
            )
        ]
        student = -torch.stack([judged.mean() for judged in deceived]).mean()
        with torch.no_grad():
            shown = features(real, conditions)
            fakes = [features(made.detach(), conditions), features(real, _swapped(conditions))]
        terms = []
        for i, head in enumerate(self.heads):
            terms.append(F.relu(1 - head(shown[i])).mean())
            terms.append(
                torch.stack([F.relu(1 + head(fake[i])).mean() for fake in fakes]).mean()
            )  # fmt: skip
        return student, torch.stack(terms).mean() * 2

    def _features(self, x: Tensor, s: Tensor, conditions: Conditions) -> list[Tensor]:
        """The residual stream of the teacher at the places of the heads, (B, F, N, width) each."""
        teacher = self._teacher[0]
        with _recording(teacher, self.places) as seen:
            conditions.estimate(teacher, x, s, self.teacher_config)
        return [part[-len(x) :] for part in seen]  # what was looked back at stands in front


@contextmanager
def _recording(network: NextFrameDiffusion, places: list[int]) -> Iterator[list[Tensor]]:
    """Collects what the MLPs of some blocks are given: the residual stream after attention."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    handles = [network.blocks[i].norm_mlp.register_forward_pre_hook(keep) for i in places]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _swapped(conditions: Conditions) -> Conditions:
    """The same frames to look back at, under the actions of the next window of the batch."""
    return replace(conditions, actions=conditions.actions.roll(1, dims=0))


def start_times(t: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """TrigFlow times (B, F) with a share of them put to pure noise."""
    chosen = torch.rand(t.shape, generator=generator, device=t.device) < fraction
    return torch.where(chosen, torch.full_like(t, trigflow.HALF_PI), t)
