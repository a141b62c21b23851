"""``branch``: the next step for several likely actions, as one batch over the shared past."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor

from world_model.protocol import RolloutProtocol
from world_model.speculation.background import BackgroundRollout
from world_model.speculation.worker import Chain
from world_model.types import StepOutcome


class BranchRollout(BackgroundRollout):
    """A rollout of one stream that computes ``width`` different next steps at once. Exact.

    Every step is computed as a batch of ``width`` rows, those of actions that nobody foresaw as
    well, and every action has a row of its own (:func:`row_of`), as the last digit of a matrix
    product may depend on the row. So it does not matter to a frame whether it was foreseen: frames
    equal those of a plain rollout of ``width`` equal rows of which that row counts, and are close
    to one of a single row.

    Args:
        rollout: what imagines.
        width: number of actions; all of them where the space has no more. Where there is arithmetic
            to spare, as on a GPU with a batch of one, a few cost no more than one.

    Raises:
        ValueError: if the width is below 1.
    """

    def __init__(self, rollout: RolloutProtocol[Any], width: int = 3) -> None:
        if width < 1:
            raise ValueError(f"speculation_depth must be at least 1, not {width}.")
        super().__init__(rollout)
        self.width = width
        self._drafted: Tensor | None = None
        self._used = 0

    def _step(self, state: Any, actions: Tensor, taken: Tensor) -> tuple[Any, StepOutcome]:
        row = row_of(taken, self.width)
        drafted = None if self._drafted is None else self._drafted[row : row + 1]
        if self._is_of(state) and drafted is not None and torch.equal(drafted, taken):
            assert self._chain is not None
            try:
                after, outcome = self._chain.result(0)
                self._used = 1
            finally:
                self._drop()
            self.counts.accepted += 1
        else:
            self._drop()
            wide = state.select(torch.zeros(self.width, dtype=torch.int64))
            after, outcome = self.rollout.advance(wide, actions.expand(self.width, -1).clone())
        return only_row(after, outcome, row)

    def _prepare(self, state: Any) -> None:
        if not self._drafts.likeliest() or not self._can_prepare(state):
            return
        self._drafted, self._used = self._draft(), 0
        wide = state.select(torch.zeros(self.width, dtype=torch.int64))
        self._start(state, Chain(wide, [self._drafted.to(self.device)], owned=True))

    def _draft(self) -> Tensor:
        """float32 (width, K): the likeliest action of each row, or the likeliest of all."""
        # Several may share a row, where only the likeliest fits: look at more than there are rows.
        likely = self._drafts.likeliest(4 * self.width)
        rows = [likely[0]] * self.width
        for action in reversed(likely):
            rows[row_of(action, self.width)] = action
        return torch.cat(rows)

    def _is_what_is_drafted(self) -> bool:
        return self._drafted is not None and torch.equal(self._drafted, self._draft())

    def _lost(self, chain: Chain) -> int:
        return self.width - self._used if chain.begun else 0

    def _wasted(self, lost: int) -> int:
        # One batch: its passes are wasted only if no row of it was used.
        return self.sampling_steps if lost == self.width else 0


def row_of(action: Tensor, width: int) -> int:
    """The row of ``width`` in which an encoded action (1, K) is always computed."""
    if action.shape[1] == 1 and float(action).is_integer():
        return int(action) % width
    return zlib.crc32(action.numpy().tobytes()) % width


def only_row(state: Any, outcome: StepOutcome, row: int) -> tuple[Any, StepOutcome]:
    """One stream of a batch."""
    alone = outcome.map(lambda value: value[row : row + 1].clone())
    return state.select(torch.tensor([row])), alone
