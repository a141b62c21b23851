"""``ahead``: the step for the expected action, computed while the agent thinks."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import Tensor

from world_model.protocol import RolloutProtocol
from world_model.speculation.background import BackgroundRollout
from world_model.speculation.gain import RunningMean, ahead_pays, best_ahead_depth
from world_model.speculation.worker import Chain
from world_model.types import Context, StepOutcome

PATIENCE = 20
"""Steps that are watched before speculation begins to pay or not to."""


class AheadRollout(BackgroundRollout):
    """A rollout of one stream that computes the expected step before it is asked for. Exact.

    Args:
        rollout: what imagines.
        depth: steps to compute ahead, under the same expected action.
        adaptive: work ahead only while measured times and hits say that it pays; the depth is then
            the most that is tried. Nothing that is chosen so changes a frame.

    Raises:
        ValueError: if the depth is below 1.
    """

    def __init__(
        self, rollout: RolloutProtocol[Any], depth: int = 1, *, adaptive: bool = False
    ) -> None:
        if depth < 1:
            raise ValueError(f"speculation_depth must be at least 1, not {depth}.")
        super().__init__(rollout)
        self.depth, self.adaptive = depth, adaptive
        self._expected: Tensor | None = None
        self._next = 0
        self._seconds_agent, self._seconds_model = RunningMean(), RunningMean()
        self._hits = RunningMean()
        self._returned: float | None = None

    def begin(self, contexts: Context, seeds: Tensor) -> Any:
        """As :meth:`world_model.rollout.Rollout.begin`."""
        self._returned = None
        return super().begin(contexts, seeds)

    def advance(self, state: Any, actions: Tensor) -> tuple[Any, StepOutcome]:
        """As :meth:`world_model.rollout.Rollout.advance`."""
        if self._returned is not None and self._seconds_model.count:
            # No more than can be used: a pause says nothing about the steps to come.
            most = self.depth * self._seconds_model.value
            self._seconds_agent.add(min(time.perf_counter() - self._returned, most))
        taken = super().advance(state, actions)
        self._returned = self._now()
        return taken

    def _step(self, state: Any, actions: Tensor, taken: Tensor) -> tuple[Any, StepOutcome]:
        guess = self._drafts.likeliest()
        self._hits.add(float(bool(guess) and torch.equal(guess[0], taken)))
        expected = self._expected
        if self._is_of(state) and expected is not None and torch.equal(expected, taken):
            step = self._take()
            self.counts.accepted += 1
            return step
        self._drop()
        started = time.perf_counter()
        step = self.rollout.advance(state, actions)
        self._seconds_model.add(self._now() - started)
        return step

    def _take(self) -> tuple[Any, StepOutcome]:
        """The next step of the chain."""
        chain = self._chain
        assert chain is not None
        try:
            step = chain.result(self._next)
        except BaseException:
            self._drop()
            raise
        self._next += 1
        if self._next == len(chain):
            self._chain = None
        return step

    def _prepare(self, state: Any) -> None:
        if self.adaptive and not self._pays():
            return
        guess, depth = self._drafts.likeliest(), self.depth
        if not guess or not self._can_prepare(state):
            return
        if self.adaptive:
            times = self._seconds_agent.value, self._seconds_model.value
            depth = best_ahead_depth(self._hits.value, *times, self.depth)
        self._expected, self._next = guess[0], 0
        self._start(state, Chain(state, [guess[0].to(self.device)] * depth))

    def _is_what_is_drafted(self) -> bool:
        guess = self._drafts.likeliest()
        return self._expected is not None and torch.equal(guess[0], self._expected)

    def _lost(self, chain: Chain) -> int:
        return max(0, chain.begun - self._next)

    def _pays(self) -> bool:
        if self._seconds_agent.count < PATIENCE or _cores() < 2:
            return False
        return ahead_pays(self._hits.value, self._seconds_agent.value, self._seconds_model.value)

    def _now(self) -> float:
        """The time; where it is measured on a GPU, after all that was launched there."""
        if self.adaptive and self.device.type == "cuda":
            # Not the whole device: another thread may be capturing a graph.
            torch.cuda.current_stream(self.device).synchronize()
        return time.perf_counter()


def _cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
