"""What ``branch`` is compared with: no speculation, in the same kernel shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from world_model.protocol import RolloutProtocol
from world_model.speculation.branch import only_row, row_of
from world_model.types import Context, StepOutcome


class PaddedRollout:
    """One stream, computed as ``width`` equal rows of which the action's own counts.

    Args:
        rollout: what imagines.
        width: number of rows.
    """

    def __init__(self, rollout: RolloutProtocol[Any], width: int) -> None:
        self.rollout, self.width = rollout, width
        self.world: Any = rollout.world  # type: ignore[attr-defined]
        self.device = torch.device(getattr(rollout, "device", "cpu"))

    def begin(self, contexts: Context, seeds: Tensor) -> Any:
        """As :meth:`world_model.rollout.Rollout.begin`."""
        return self.rollout.begin(contexts, seeds)

    def advance(self, state: Any, actions: Tensor) -> tuple[Any, StepOutcome]:
        """As :meth:`world_model.rollout.Rollout.advance`."""
        wide = state.select(torch.zeros(self.width, dtype=torch.int64))
        after, outcome = self.rollout.advance(wide, actions.expand(self.width, -1).clone())
        return only_row(after, outcome, row_of(actions.cpu().float(), self.width))
