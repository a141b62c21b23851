"""sCM: continuous-time consistency distillation, carried over to video.

The student's clean estimate f(x_t, t) shall be the same all along each trajectory of the teacher's
probability flow. In the limit of infinitely close times that is a condition on the derivative of f
along the trajectory, the tangent (Lu & Song 2024, arXiv 2410.11081; SANA-Sprint, arXiv 2503.09641):

    dx/dt = F_teacher(x_t, t)
    F-    = F_student(x_t, t),   dF = cos t sin t d/dt F-    along (dx/dt, 1), without gradients
    g     = -cos^2 t (F- - dx/dt) - r (cos t sin t x_t + dF),   r rises from 0 to 1
    g     = g / (|g| + 0.1)                                     root mean square, per frame or clip
    L     = mean[ w e^(-u) |F_student - F- - g|^2 + u ],   w = 1 / tan t,  u(t) learned

For a network that predicts x_0 the squared error is multiplied by sin^2 t, which makes it one of
x_0. Frames at pi/2, which the adversarial stage adds, have no tangent and are left out.

Every frame has a time of its own. Because noised frames see clean ones alone (the two-copy layout),
the derivative of one frame's F does not run through another noised frame, and a single
Jacobian-vector product is right for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from world_model.distillation import trigflow
from world_model.distillation.adversarial import Adversary, start_times
from world_model.distillation.conditions import Conditions
from world_model.distillation.method import LossBatch, Method
from world_model.errors import DivergenceError
from world_model.flow import FlowConfig
from world_model.network import NextFrameDiffusion


@dataclass(frozen=True)
class ScmConfig:
    """Settings of :class:`ContinuousConsistency`."""

    time_mean: float = 0.0
    """Mean of log(tan t); the paper's."""
    time_std: float = 1.6
    """Standard deviation of log(tan t); the paper's."""
    warmup_steps: int = 1_000
    """Steps over which r rises from 0 to 1."""
    derivative: str = "jvp"
    """``jvp``: forward-mode differentiation, exact; ``difference``: a central difference of two
    passes, which works with every kernel and compiled."""
    difference_step: float = 5e-3
    """Half the distance of the two passes, in units of the tangent."""
    normalise: str = "frame"
    """Over what the tangent's norm is taken: each ``frame``, or each ``clip``."""
    tangent_offset: float = 0.1
    """Added to the norm that the tangent is divided by."""
    max_skipped: float = 0.01
    """Share of frames whose tangent may be not finite, and is skipped, before training stops."""

    def __post_init__(self) -> None:
        if self.derivative not in ("jvp", "difference"):
            raise ValueError(f"derivative must be 'jvp' or 'difference', not {self.derivative!r}.")
        if self.normalise not in ("frame", "clip"):
            raise ValueError(f"normalise must be 'frame' or 'clip', not {self.normalise!r}.")


class ContinuousConsistency(Method):
    """Continuous-time consistency distillation.

    Args:
        config: how the student is trained to look back; its parameterisation.
        teacher: the many-step network, never changed.
        teacher_config: its parameterisation.
        settings: of the method.
        adversary: also deceive this, where one is given.
    """

    replayable = False  # r rises from step to step, and what is not finite is counted

    def __init__(
        self,
        config: FlowConfig,
        teacher: NextFrameDiffusion | Callable[..., Tensor],
        teacher_config: FlowConfig,
        settings: ScmConfig | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        super().__init__(config)
        self.adversary = adversary
        self.teacher_config = teacher_config
        self.settings = settings or ScmConfig()
        self._teacher = (teacher,)  # in a tuple: no part of what is trained or saved
        self.weighting = LearnedWeighting()
        self.seen, self.skipped = 0, 0

    def description(self) -> dict[str, Any]:
        """See :class:`Method`."""
        stage = None if self.adversary is None else asdict(self.adversary.settings)
        return {**asdict(self.settings), "adversary": stage}

    def loss(
        self,
        network: Callable[..., Tensor],
        model: Callable[..., Tensor],
        batch: LossBatch,
        conditions: Conditions,
    ) -> Tensor:
        """See :class:`Method`.

        Raises:
            DivergenceError: if too many tangents are not finite.
        """
        settings, generator, first = self.settings, batch.generator, conditions.first
        shape = batch.latents.shape
        t = trigflow.sample_times(shape[:2], settings.time_mean, settings.time_std, generator)
        if self.adversary is not None:
            t = start_times(t, self.adversary.settings.start_fraction, generator)
        z = torch.randn(shape, generator=generator, device=t.device)
        x_t = trigflow.noised(batch.latents, z, t)
        rise = min(1.0, (batch.step + 1) / max(1, settings.warmup_steps))
        before, g = self.tangent(model, x_t, t, conditions, rise)
        fine = g.isfinite().flatten(2).all(-1)
        self._count(fine[:, first:])
        before, g = (
            torch.where(fine[..., None, None], x, torch.zeros_like(x)) for x in (before, g)
        )  # fmt: skip
        after = self._velocity(network, x_t, t, conditions)
        squares = (after - before - g).square()
        if self.config.prediction == "x":
            # What the network is off by in x_0: as an error of F it grows without bound at t = 0.
            squares = squares * t.sin().square()[..., None, None]
        if batch.weights is not None:
            squares = squares * batch.weights
        # At pure noise there is no tangent: what one step makes there follows by continuity.
        fine = fine & (t < trigflow.HALF_PI - 1e-4)
        u = self.weighting(t)
        terms = squares.mean(dim=(2, 3)) * (-u).exp() / t.tan() + u
        terms = torch.where(fine, terms, torch.zeros_like(terms))[:, first:]
        loss = terms.sum() / fine[:, first:].sum().clamp(min=1)
        if self.adversary is None:
            return loss
        made = t.cos()[..., None, None] * x_t - t.sin()[..., None, None] * after
        deceive, tell = self.adversary.losses(batch.latents, made, conditions, generator)
        return loss + self.adversary.settings.weight * deceive + tell

    @torch.no_grad()
    def tangent(
        self,
        model: Callable[..., Tensor],
        x_t: Tensor,
        t: Tensor,
        conditions: Conditions,
        rise: float,
    ) -> tuple[Tensor, Tensor]:
        """F- and the normalised tangent g, both (B, F, N, D), without gradients.

        Args:
            model: the student.
            x_t: noised tokens, float32 (B, F, N, D).
            t: TrigFlow times, float32 (B, F).
            conditions: what the frames are made from.
            rise: r, in [0, 1].
        """
        settings = self.settings
        with torch.autocast(x_t.device.type, enabled=False):
            flow = trigflow.velocity(
                lambda x, s: conditions.estimate(self._teacher[0], x, s, self.teacher_config),
                x_t,
                t,
            )
            cos, sin = t.cos()[..., None, None], t.sin()[..., None, None]
            along = (cos * sin * flow, t.cos() * t.sin())

            def student(x: Tensor, times: Tensor) -> Tensor:
                return self._velocity(model, x, times, conditions)

            derive = exact_derivative if settings.derivative == "jvp" else self._difference
            before, change = derive(student, (x_t, t), along)
        g = -(cos**2) * (before - flow) - rise * (cos * sin * x_t + change)
        over = (2, 3) if settings.normalise == "frame" else (1, 2, 3)
        norm = g.square().mean(dim=over, keepdim=True).sqrt()
        return before, g / (norm + settings.tangent_offset)

    def _velocity(
        self, network: Callable[..., Tensor], x_t: Tensor, t: Tensor, conditions: Conditions
    ) -> Tensor:
        """F of the student."""
        return trigflow.velocity(
            lambda x, s: conditions.estimate(network, x, s, self.config), x_t, t
        )

    def _difference(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        at: tuple[Tensor, Tensor],
        along: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        step = self.settings.difference_step
        x, t = at
        dx, dt = along
        ahead, behind = (function(x + h * dx, t + h * dt) for h in (step, -step))
        return function(x, t), (ahead - behind) / (2 * step)

    def _count(self, fine: Tensor) -> None:
        self.seen += fine.numel()
        self.skipped += fine.numel() - int(fine.sum())
        if self.skipped > max(10.0, self.settings.max_skipped * self.seen):
            raise DivergenceError(
                f"{self.skipped} of {self.seen} tangents are not finite. Start anew with a lower "
                "learning rate, a longer tangent warm-up, or derivative='difference'."
            )


class LearnedWeighting(nn.Module):
    """u(t): the logarithm of the loss to expect at t, which evens out the noise levels."""

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        self.project_in = nn.Linear(1, features)
        self.project_out = nn.Linear(features, 1)
        # Smooth steps, spread over the times; no dice, so that a run repeats itself.
        nn.init.ones_(self.project_in.weight)
        with torch.no_grad():
            self.project_in.bias.copy_(torch.linspace(-4.0, 4.0, features))
        nn.init.zeros_(self.project_out.weight)
        nn.init.zeros_(self.project_out.bias)

    def forward(self, t: Tensor) -> Tensor:
        """Like t."""
        log_tan = t.tan().clamp(1e-3, 1e3).log()[..., None]
        return self.project_out(torch.tanh(self.project_in(log_tan))).squeeze(-1)


def exact_derivative(
    function: Callable[[Tensor, Tensor], Tensor],
    at: tuple[Tensor, Tensor],
    along: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Value and directional derivative by forward-mode differentiation."""
    # Fused attention has no forward derivative; with gradients enabled (there are none to record)
    # the network takes the plain formula on a CPU too.
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        result = torch.func.jvp(function, at, along)
    return result[0].detach(), result[1].detach()
