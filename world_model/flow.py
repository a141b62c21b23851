"""Flow matching with an independent noise level per frame: noising, loss, parameterisation.

    x_t = (1 - t) x_0 + t eps,    eps ~ N(0, I),    t in [0, 1], t = 1 is noise
    v   = eps - x_0 = (x_t - x_0) / t

Noise levels are drawn independently for every frame (diffusion forcing): the network meets every
mixture of clean, half-noised and unknown frames, among them the one that streaming needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_T = 1e-3
"""Below this, t is not divided by: v is a difference of nearly equal numbers."""

REGRESSION_LOSSES = ("x_ramp", "x", "v")
"""Losses that teach the network a mean; sampling takes many steps."""
CONSISTENCY_LOSSES = ("scm", "consistency")
"""Those of few-step networks that learn from a many-step one."""
FEW_STEP_LOSSES = ("energy", "shortcut", *CONSISTENCY_LOSSES)
"""Losses that teach the network to make a possible clean frame at once."""


@dataclass(frozen=True)
class FlowConfig:
    """What the network predicts and how it is trained."""

    prediction: str = "x"
    """What the network's output stands for: ``x`` (clean tokens) or ``v`` (velocity)."""
    loss: str = "x_ramp"
    """``x_ramp``: squared error of x weighted by 1 - 0.9 t; ``x``: unweighted; ``v``: of v;
    ``energy``, ``shortcut``, ``scm``, ``consistency``: of few-step worlds, see
    :mod:`world_model.distillation`."""
    shift: float = 1.0
    """k of ``t <- k t / (1 + (k - 1) t)``: larger means noisier training."""
    noise_fraction: float = 0.1
    """Share of frames trained at exactly t = 1, where sampling starts."""
    context_fraction: float = 0.15
    """Share of frames trained at the small t at which context frames stand in streaming."""
    context_noise_max: float = 0.2
    """Largest t that stands for a context frame."""
    motion_weight: float = 0.0
    """Extra loss weight of pixels that changed between the two frames before. It depends on what
    the network is given, never on what it predicts: a weight that looked at the target would
    bias the samples towards change."""
    motion_reach: int = 5
    """Pixels around a changed pixel that weigh as much (side of a square, odd). Where small things
    move fast, as far as they move in two frames, or the place where they will be weighs nothing."""
    object_weights: tuple[float, ...] = ()
    """Extra loss weight of pixels near an object in one of the two frames before, one number per
    class of the data set's labels; see :mod:`world_model.training.loss_weights`. For small things
    that matter. Needed in training alone; like ``motion_weight`` it never looks at the target."""
    own_fraction: float = 0.0
    """Share of windows (rounded up) in which the frames given as previous ones are the network's
    own estimates of them, as in streaming, instead of the real ones. What fades a little in every
    estimate is then restored in the next, instead of fading away. Needs ``previous_frames``, and
    one more forward pass of those windows. In few-step training, which needs neither, all that is
    looked back at is imagined, frame after frame; see :mod:`world_model.distillation.history`."""
    own_retraces: bool = False
    """Whether windows of the network's own, in few-step training, are never imagined from noise
    alone: then they stay near what was recorded. For games in which what came by chance stays, such
    as land that comes into view: a window that went another way than the recording, which is what
    the next frame is compared with, would teach that it changes."""
    junk_fraction: float = 0.0
    """Share of windows in which what is looked back at is covered with misplaced tokens, so that
    a view that was lost is found again. In few-step training alone."""

    @property
    def makes_samples(self) -> bool:
        """Whether a single step gives a possible clean frame, not the mean of all of them."""
        return self.loss in FEW_STEP_LOSSES

    @property
    def blended(self) -> bool:
        """Whether estimates from little noise are blended with what is there.

        See :mod:`world_model.distillation.boundary`.
        """
        return self.prediction == "x" and self.loss in CONSISTENCY_LOSSES

    def __post_init__(self) -> None:
        for name in ("own_fraction", "junk_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {getattr(self, name)}.")
        if self.motion_reach < 1 or self.motion_reach % 2 == 0:
            raise ValueError(f"motion_reach must be odd and at least 1, not {self.motion_reach}.")
        if self.prediction not in ("x", "v"):
            raise ValueError(f"prediction must be 'x' or 'v', not {self.prediction!r}.")
        if self.loss not in REGRESSION_LOSSES + FEW_STEP_LOSSES:
            known = ", ".join(map(repr, REGRESSION_LOSSES + FEW_STEP_LOSSES))
            raise ValueError(f"loss must be one of {known}, not {self.loss!r}.")


def add_noise(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """``(1 - t) x_0 + t eps``; t has the leading dimensions of x0 (B, F)."""
    t = t[..., None, None]
    return (1 - t) * x0 + t * noise


def shift_time(t: Tensor, shift: float) -> Tensor:
    """``k t / (1 + (k - 1) t)``: keeps 0 and 1, moves the rest towards noise for k > 1."""
    return shift * t / (1 + (shift - 1) * t)


def sample_times(shape: tuple[int, ...], config: FlowConfig, generator: torch.Generator) -> Tensor:
    """Independent training noise levels, float32 in [0, 1].

    t = sigmoid(n) with n ~ N(0, 1), shifted; a share of frames sits at exactly 1, another share
    uniformly in the range of context frames.
    """
    device = generator.device
    normal = torch.randn(shape, generator=generator, device=device)
    t = shift_time(normal.sigmoid(), config.shift)
    kind = torch.rand(shape, generator=generator, device=device)
    context = torch.rand(shape, generator=generator, device=device) * config.context_noise_max
    t = torch.where(kind < config.noise_fraction, torch.ones_like(t), t)
    return torch.where(kind > 1 - config.context_fraction, context, t)


def predict_x0(
    raw: Tensor, x_t: Tensor, t: Tensor, previous: Tensor | None, config: FlowConfig
) -> Tensor:
    """Clean tokens from the network's raw output.

    With x-prediction and a previous frame the output is the change on top of it, so an untrained
    network repeats the last frame.
    """
    if config.prediction == "v":
        return x_t - t[..., None, None] * raw
    return raw if previous is None else previous[..., : raw.shape[-1]] + raw


def predict_velocity(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """``v = (x_t - x_0) / t``."""
    return (x_t - x0) / t.clamp(min=MIN_T)[..., None, None]


def previous_frames(
    latents: Tensor, count: int, level: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The frames before each frame, a little noised; zeros where there is none.

    Args:
        latents: clean tokens (B, F, N, D).
        count: how many frames before each.
        level: (B, F), the noise level of all that a frame is given; the first is ignored.
        generator: source of the noise.

    Returns:
        ``previous`` (B, F, N, count * D), the latest first, and ``previous_t`` (B, F).
    """
    parts = []
    for back in range(1, count + 1):
        shifted = torch.zeros_like(latents)
        if back < latents.shape[1]:
            earlier = latents[:, :-back]
            noise = torch.randn(earlier.shape, generator=generator, device=earlier.device)
            shifted[:, back:] = add_noise(earlier, noise, level[:, back:])
        parts.append(shifted)
    previous_t = torch.cat([torch.ones_like(level[:, :1]), level[:, 1:]], dim=1)
    return torch.cat(parts, dim=-1), previous_t


def flow_loss(
    network: Callable[..., Tensor],
    latents: Tensor,
    actions: Tensor,
    config: FlowConfig,
    generator: torch.Generator,
    *,
    previous: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Training loss of one batch of sequences.

    Args:
        network: the transformer, or a wrapper of it.
        latents: clean tokens, float32 (B, F, N, D).
        actions: float32 (B, F, K), the action that produced each frame.
        config: what is predicted and how it is weighted.
        generator: source of the noise and the noise levels, on the latents' device.
        previous: how many frames before each frame the network is given.
        weights: optional loss weight of every number, as latents; mean about 1.

    Returns:
        A scalar.
    """
    shape, device = latents.shape, latents.device
    t = sample_times(shape[:2], config, generator)
    noise = torch.randn(shape, generator=generator, device=device)
    x_t = add_noise(latents, noise, t)
    given = given_t = None
    first = 0
    if previous:
        given, given_t = given_frames(network, latents, actions, config, generator, previous)
        first = 1  # a first frame has nothing to be predicted from: it only serves as context
    raw = network(x_t, t, actions, given, given_t)
    if config.loss == "v":
        x0 = predict_x0(raw, x_t, t, given, config)
        velocity = raw if config.prediction == "v" else predict_velocity(x0, x_t, t)
        error = (velocity - (noise - latents)).square()
    else:
        error = (predict_x0(raw, x_t, t, given, config) - latents).square()
        if config.loss == "x_ramp":
            error = error * (1 - 0.9 * t)[..., None, None]
    if weights is not None:
        error = error * weights
    return error[:, first:].mean()


def given_frames(
    network: Callable[..., Tensor],
    latents: Tensor,
    actions: Tensor,
    config: FlowConfig,
    generator: torch.Generator,
    count: int,
) -> tuple[Tensor, Tensor]:
    """The frames before each frame as training gives them: real, or the network's own.

    Args:
        network: the transformer, or a wrapper of it.
        latents: clean tokens, float32 (B, F, N, D).
        actions: float32 (B, F, K), the action that produced each frame.
        config: how much they are noised, and how many windows get the network's own.
        generator: source of the noise and the noise levels, on the latents' device.
        count: how many frames before each.

    Returns:
        As :func:`previous_frames`.
    """
    level = torch.rand(latents.shape[:2], generator=generator, device=latents.device).square()
    level = level * config.context_noise_max
    given, given_t = previous_frames(latents, count, level, generator)
    if config.own_fraction:
        own = _own_estimates(network, latents, actions, config, generator, given, given_t)
        given, given_t = previous_frames(own, count, level, generator)
    return given, given_t


@torch.no_grad()
def _own_estimates(
    network: Callable[..., Tensor],
    latents: Tensor,
    actions: Tensor,
    config: FlowConfig,
    generator: torch.Generator,
    given: Tensor,
    given_t: Tensor,
) -> Tensor:
    """Clean tokens as latents, in the first windows replaced by estimates of them.

    An estimate from little noise knows what happened, one from much noise does not: the network
    meets both, events that it foresaw and events that it missed.
    """
    count = math.ceil(config.own_fraction * latents.shape[0])  # always as many: one compiled shape
    real, given, given_t = latents[:count], given[:count], given_t[:count]
    t = sample_times(real.shape[:2], config, generator)
    noise = torch.randn(real.shape, generator=generator, device=real.device)
    x_t = add_noise(real, noise, t)
    raw = network(x_t, t, actions[:count], given, given_t)
    own = predict_x0(raw, x_t, t, given, config).float()
    own = torch.cat([real[:, :1], own[:, 1:]], dim=1)  # nothing predicts a first frame
    return torch.cat([own, latents[count:]])
