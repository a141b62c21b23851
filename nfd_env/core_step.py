"""What one step of the batched core returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from world_model.types import StepOutcome


@dataclass(frozen=True)
class CoreStep:
    """One step of all ``B`` streams, as fresh NumPy arrays, but for the frames."""

    frames: torch.Tensor
    """uint8 (B, H, W, 3), where they were imagined; never written to."""
    rewards: np.ndarray
    """float64 (B,), of the transition into ``frames``."""
    terminated: np.ndarray
    """bool (B,), by the world."""
    truncated: np.ndarray
    """bool (B,), by a limit."""
    truncation_reasons: np.ndarray
    """object (B,): ``"horizon"``, ``"uncertainty"`` or None."""
    termination_probability: np.ndarray
    """float64 (B,)."""
    uncertainty: np.ndarray
    """float64 (B,)."""
    steps: np.ndarray
    """int64 (B,), steps since the episode's start."""

    @cached_property
    def observations(self) -> np.ndarray:
        """uint8 (B, H, W, 3): the frames, brought to the host once."""
        return to_numpy(self.frames)

    def single(self, i: int = 0) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """What a single environment returns of this step: that of stream ``i``."""
        return (
            self.observations[i],
            float(self.rewards[i]),
            bool(self.terminated[i]),
            bool(self.truncated[i]),
            self.info(i),
        )

    def info(self, i: int) -> dict[str, Any]:
        """The ``info`` of stream ``i``."""
        info: dict[str, Any] = {
            "imagined_steps": int(self.steps[i]),
            "uncertainty": float(self.uncertainty[i]),
            "termination_probability": float(self.termination_probability[i]),
        }
        if self.truncation_reasons[i] is not None:
            info["truncation_reason"] = self.truncation_reasons[i]
        return info


def to_numpy(frames: torch.Tensor) -> np.ndarray:
    """A copy of frames as a NumPy array."""
    return np.array(frames.cpu().numpy())


def reset_info(seed: int, steps: int) -> dict[str, Any]:
    """The ``info`` of a stream that was reset: that of a step, and the episode's seed."""
    return {
        "imagined_steps": steps,
        "uncertainty": 0.0,
        "termination_probability": 0.0,
        "episode_seed": seed,
    }


def numbers_of(outcome: StepOutcome) -> np.ndarray:
    """Rewards, terminated, termination probability and uncertainty as float64 (4, B).

    They are brought from the device in one go: on a GPU each transfer waits for all that is
    queued before it.
    """
    numbers = torch.stack(
        [
            outcome.rewards.float(),
            outcome.terminated.float(),
            outcome.termination_probability.float(),
            outcome.uncertainty.float(),
        ]
    )
    return numbers.cpu().numpy().astype(np.float64)
