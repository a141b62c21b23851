"""``branch``: the next step for several likely actions, as one batch over the shared past."""

from __future__ import annotations

import zlib
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from world_model.protocol import RolloutProtocol
from world_model.speculation.counts import SpeculationCounts
from world_model.speculation.drafts import Drafts
from world_model.speculation.stamp import stamp
from world_model.speculation.worker import Chain, Worker
from world_model.types import Context, StepOutcome


class BranchRollout:
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
        self.rollout, self.width = rollout, width
        self.world: Any = rollout.world  # type: ignore[attr-defined]
        self.device = torch.device(getattr(rollout, "device", "cpu"))
        self.sampling_steps = int(getattr(rollout, "sampling_steps", 1))
        self.counts = SpeculationCounts()
        self._drafts = Drafts(self.world.action_spec)
        self._worker = Worker()
        self._chain: Chain | None = None
        self._drafted: Tensor | None = None
        self._parent: Any = None
        self._stamp: Any = None

    def begin(self, contexts: Context, seeds: Tensor) -> Any:
        """As :meth:`world_model.rollout.Rollout.begin`."""
        self._drop(used=0)
        self._drafts.forget()
        state = self.rollout.begin(contexts, seeds)
        self._look_ahead(state)
        return state

    def advance(self, state: Any, actions: Tensor) -> tuple[Any, StepOutcome]:
        """As :meth:`world_model.rollout.Rollout.advance`."""
        if state.batch_size != 1:  # a batch of futures that somebody branched off
            return self.rollout.advance(state, actions)
        taken = actions.detach().cpu().float()
        row = self._row(state, taken)
        if row is None:
            self._drop(used=0)
            wide = state.select(torch.zeros(self.width, dtype=torch.int64))
            after, outcome = self.rollout.advance(wide, actions.expand(self.width, -1).clone())
            row = row_of(taken, self.width)
        else:
            assert self._chain is not None
            try:
                after, outcome, _ = self._chain.result(0)
            except BaseException:
                self._drop(used=0)
                raise
            self.counts.accepted += 1
            self._drop(used=1)
        state, outcome = only_row(after, outcome, row)
        self.counts.steps += 1
        self.counts.repeats += self._drafts.note(taken)
        self._look_ahead(state)
        return state, outcome

    def hint(self, state: Any, actions: Tensor) -> None:
        """Names likely next actions, float32 (n, K) encoded, the likeliest first.

        Raises:
            ActionError: if they do not fit the world.
        """
        self._drafts.hint(actions)
        drafted = self._drafted if state is self._parent else None
        if drafted is not None and torch.equal(drafted, self._draft()):
            return
        self._drop(used=0)
        self._look_ahead(state)

    def close(self) -> None:
        """Ends the background thread; the next step would start it anew."""
        self._drop(used=0)
        self._worker.close()

    # -- parts of the above ----------------------------------------------------------------------

    def _draft(self) -> Tensor:
        """float32 (width, K): the likeliest action of each row, or the likeliest of all."""
        # Several may share a row, where only the likeliest fits: look at more than there are rows.
        likely = self._drafts.likeliest(4 * self.width)
        rows = [likely[0]] * self.width
        for action in reversed(likely):
            rows[row_of(action, self.width)] = action
        return torch.cat(rows)

    def _look_ahead(self, state: Any) -> None:
        mark = stamp(state)
        if mark is None or not self._drafts.likeliest():
            return
        self._drafted, self._parent, self._stamp = self._draft(), state, mark
        wide = state.select(torch.zeros(self.width, dtype=torch.int64))
        self._chain = Chain(wide, [self._drafted.to(self.device)], owned=True)
        self._worker.start(self._chain, self.rollout)

    def _row(self, state: Any, actions: Tensor) -> int | None:
        """Which of the drafted steps is asked for, if one is."""
        if self._drafted is None or state is not self._parent or stamp(state) != self._stamp:
            return None
        row = row_of(actions, self.width)
        return row if torch.equal(self._drafted[row : row + 1], actions) else None

    def _drop(self, *, used: int) -> None:
        if self._chain is None:
            return
        self._chain.release()
        if self._chain.begun:
            self.counts.discarded += self.width - used
            if not used:
                self.counts.wasted_passes += self.sampling_steps
        self._chain, self._drafted, self._parent = None, None, None


def row_of(action: Tensor, width: int) -> int:
    """The row of ``width`` in which an encoded action (1, K) is always computed."""
    if action.shape[1] == 1 and float(action).is_integer():
        return int(action) % width
    return zlib.crc32(action.numpy().tobytes()) % width


def only_row(state: Any, outcome: StepOutcome, row: int) -> tuple[Any, StepOutcome]:
    """One stream of a batch."""
    values = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    outcome = StepOutcome(**{name: value[row : row + 1].clone() for name, value in values.items()})
    return state.select(torch.tensor([row])), outcome
