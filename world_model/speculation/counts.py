"""What speculation has brought so far, and what it has cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class SpeculationCounts:
    """Counted over the life of a speculative rollout."""

    steps: int = 0
    """Steps that were asked for."""
    repeats: int = 0
    """Steps with the same action as the step before."""
    accepted: int = 0
    """Steps whose frame was ready, or being computed, when they were asked for."""
    discarded: int = 0
    """Frames that were computed, or begun, and that nobody asked for."""
    wasted_passes: int = 0
    """Passes of the transformer of which nothing was used."""

    @property
    def repeat_rate(self) -> float:
        """Share of the steps that repeat the action before; 0 before the first."""
        return self.repeats / self.steps if self.steps else 0.0

    @property
    def acceptance_rate(self) -> float:
        """Share of the steps that speculation served; 0 before the first."""
        return self.accepted / self.steps if self.steps else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For reports: the counts and the two rates."""
        rates = {"repeat_rate": self.repeat_rate, "acceptance_rate": self.acceptance_rate}
        return {**asdict(self), **rates}
