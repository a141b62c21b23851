"""The named types that travel between the parts of a world.

Alignment, used everywhere inside the network: the action at index ``i`` is the one that
*produced* frame ``i``. The first frame of an episode was produced by no action and carries
the null action (a row of NaN, see :class:`world_model.action_spec.ActionSpec`). Data on disk
is aligned the other way round, as environments report it: ``actions[t]`` takes frame ``t`` to
frame ``t + 1`` (see :class:`Episode`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
import torch


@dataclass(frozen=True)
class Episode:
    """One recorded episode of ``N`` frames and ``A`` transitions.

    ``A`` is ``N - 1`` when the final frame was recorded, and ``N`` when the last action ended
    the episode without a frame to show for it (ViZDoom returns a black one, which is dropped).
    """

    frames: np.ndarray
    """uint8 (N, H, W, 3)."""
    actions: np.ndarray
    """float32 (A, K), encoded by an ActionSpec; ``actions[t]`` takes frame t to frame t + 1."""
    rewards: np.ndarray
    """float32 (A,), the reward of the transition out of frame t."""
    terminated: np.ndarray
    """bool (A,), only the last may be True; never together with ``truncated``."""
    truncated: np.ndarray
    """bool (A,), only the last may be True."""
    state: np.ndarray
    """float32 (N, S), what the real environment knew at each frame (S may be 0)."""
    labels: np.ndarray | None = None
    """uint8 (N, H, W), object class of each pixel (0: background), where it was recorded."""
    info: dict[str, str] = field(default_factory=dict)
    """Where the episode came from: ``policy``, ``seed``, ..."""


@dataclass(frozen=True)
class Batch:
    """Windows of ``T`` frames that never cross an episode, in the network's alignment."""

    frames: torch.Tensor
    """uint8 (B, T, H, W, 3)."""
    actions: torch.Tensor
    """float32 (B, T, K); ``actions[:, i]`` produced frame i, NaN rows are the null action."""
    labels: torch.Tensor | None = None
    """uint8 (B, T, H, W), object class of each pixel (0: background), where it was recorded."""


@dataclass(frozen=True)
class Context:
    """Real frames that start ``B`` imagined episodes."""

    frames: torch.Tensor
    """uint8 (B, C, H, W, 3)."""
    actions: torch.Tensor
    """float32 (B, C, K); ``actions[:, i]`` produced frame i, NaN rows are the null action."""
    outcome_memory: torch.Tensor | None = None
    """float32 (B, M), memory of the outcome model before the first context frame, or None for a
    fresh one (right at the true start of an episode)."""


@dataclass(frozen=True)
class StepOutcome:
    """What one :meth:`world_model.rollout.Rollout.advance` returns for ``B`` streams."""

    frames: torch.Tensor
    """uint8 (B, H, W, 3), the new frame."""
    latents: torch.Tensor
    """float32 (B, n, d), the new frame as the tokenizer's tokens."""
    rewards: torch.Tensor
    """float32 (B,), reward of the transition into the new frame."""
    terminated: torch.Tensor
    """bool (B,), whether that transition ended the episode."""
    termination_probability: torch.Tensor
    """float32 (B,), in [0, 1]."""
    uncertainty: torch.Tensor
    """float32 (B,), root mean square change from the first denoising estimate to the final
    frame, in units of the latents' standard deviation. With a single sampling step, which has no
    other estimate, from the last frame to this one: the more is new, the more may be wrong. The
    two are on different scales, so a limit is of one number of steps."""

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> StepOutcome:
        """The outcome with every tensor changed."""
        return StepOutcome(*(change(getattr(self, field.name)) for field in fields(self)))
