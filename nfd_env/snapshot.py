"""Snapshots: a moment of imagined episodes, to come back to or to branch from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfd_env.seeding import EpisodeSeeds


@dataclass(frozen=True)
class Snapshot:
    """Everything that decides how ``B`` imagined episodes go on, on the CPU, sharing nothing.

    Made by ``save_state()``, taken by ``restore_state()`` and ``reset(options={"snapshot": ...})``.
    Under the same actions a restored episode repeats itself bit for bit, its end and the seeds of
    the episodes after it included.
    """

    model_id: str
    """The world it belongs to."""
    state: Any
    """State of the rollout, on the CPU."""
    observations: np.ndarray
    """uint8 (B, H, W, 3), the newest frames."""
    steps: np.ndarray
    """int64 (B,), steps since each episode's start: the horizon is restored, too."""
    seeds: EpisodeSeeds
    """Where each stream is in its sequence of episodes."""
    finished: np.ndarray
    """bool (B,), whether the episode has ended and the stream waits for a reset."""

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        return len(self.steps)

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        tensors = getattr(self.state, "tensors", lambda: vars(self.state).values())()
        return self.observations.nbytes + sum(getattr(tensor, "nbytes", 0) for tensor in tensors)

    def select(self, indices: Sequence[int] | np.ndarray) -> Snapshot:
        """The streams at ``indices``, which may repeat."""
        import torch

        chosen = np.asarray(indices, np.int64)
        return Snapshot(
            self.model_id,
            self.state.select(torch.from_numpy(chosen)).clone(),
            self.observations[chosen],
            self.steps[chosen],
            self.seeds.select(chosen),
            self.finished[chosen],
        )
