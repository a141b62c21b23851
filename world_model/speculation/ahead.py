"""``ahead``: the step for the expected action, computed while the agent thinks."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import Tensor

from world_model.protocol import RolloutProtocol
from world_model.speculation.counts import SpeculationCounts
from world_model.speculation.drafts import Drafts
from world_model.speculation.gain import RunningMean, ahead_pays, best_ahead_depth
from world_model.speculation.stamp import stamp
from world_model.speculation.worker import Chain, Worker
from world_model.types import Context, StepOutcome

PATIENCE = 20
"""Steps that are watched before speculation begins to pay or not to."""


class AheadRollout:
    """A rollout of one stream that computes the expected step before it is asked for. Exact.

    The state of a step is never written to by what is computed in the background, so frames,
    rewards and ends are those of the plain rollout, whatever is expected, reset, restored or
    branched in the meantime: work that turns out useless is only lost. A state that was written to
    from outside is noticed and computed anew.

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
        self.rollout, self.depth, self.adaptive = rollout, depth, adaptive
        self.world: Any = rollout.world  # type: ignore[attr-defined]
        self.device = torch.device(getattr(rollout, "device", "cpu"))
        self.sampling_steps = int(getattr(rollout, "sampling_steps", 1))
        self.counts = SpeculationCounts()
        self._drafts = Drafts(self.world.action_spec)
        self._worker = Worker()
        self._chain: Chain | None = None
        self._expected: Tensor | None = None
        self._next = 0
        self._parent: Any = None
        self._stamp: Any = None
        self._seconds_agent, self._seconds_model = RunningMean(), RunningMean()
        self._hits = RunningMean()
        self._returned: float | None = None

    def begin(self, contexts: Context, seeds: Tensor) -> Any:
        """As :meth:`world_model.rollout.Rollout.begin`."""
        self._drop()
        self._drafts.forget()
        self._returned = None
        state = self.rollout.begin(contexts, seeds)
        self._look_ahead(state)
        return state

    def advance(self, state: Any, actions: Tensor) -> tuple[Any, StepOutcome]:
        """As :meth:`world_model.rollout.Rollout.advance`."""
        if state.batch_size != 1:  # a batch of futures that somebody branched off
            return self.rollout.advance(state, actions)
        if self._returned is not None:
            self._seconds_agent.add(time.perf_counter() - self._returned)
        guess = self._drafts.likeliest()
        taken = actions.detach().cpu().float()
        self._hits.add(float(bool(guess) and torch.equal(guess[0], taken)))
        if self._chain is not None and self._fits(state, taken):
            state, outcome, seconds = self._take()
            self.counts.accepted += 1
        else:
            self._drop()
            started = time.perf_counter()
            state, outcome = self.rollout.advance(state, actions)
            seconds = time.perf_counter() - started
        self._seconds_model.add(seconds)
        self.counts.steps += 1
        self.counts.repeats += self._drafts.note(taken)
        if self._chain is None:
            self._look_ahead(state)
        else:  # a deeper chain goes on
            self._parent, self._stamp = state, stamp(state)
        self._returned = time.perf_counter()
        return state, outcome

    def hint(self, state: Any, actions: Tensor) -> None:
        """Names likely next actions, float32 (n, K) encoded, the likeliest first.

        Raises:
            ActionError: if they do not fit the world.
        """
        self._drafts.hint(actions)
        if self._chain is not None and self._fits(state, self._drafts.likeliest()[0]):
            return
        self._drop()
        self._look_ahead(state)

    def close(self) -> None:
        """Ends the background thread; the next step would start it anew."""
        self._drop()
        self._worker.close()

    # -- parts of the above ----------------------------------------------------------------------

    def _look_ahead(self, state: Any) -> None:
        """Starts on the next step from ``state``, if that seems to pay."""
        guess, depth = self._drafts.likeliest(), self.depth
        if self.adaptive:
            if not self._pays():
                return
            times = self._seconds_agent.value, self._seconds_model.value
            depth = best_ahead_depth(self._hits.value, *times, self.depth)
        mark = stamp(state)
        if not guess or mark is None:
            return
        self._expected, self._next, self._parent, self._stamp = guess[0], 0, state, mark
        self._chain = Chain(state, [guess[0].to(self.device)] * depth)
        self._worker.start(self._chain, self.rollout)

    def _pays(self) -> bool:
        if self._seconds_agent.count < PATIENCE or _cores() < 2:
            return False
        return ahead_pays(self._hits.value, self._seconds_agent.value, self._seconds_model.value)

    def _fits(self, state: Any, actions: Tensor) -> bool:
        if state is not self._parent or self._expected is None:
            return False
        return torch.equal(self._expected, actions) and stamp(state) == self._stamp

    def _take(self) -> tuple[Any, StepOutcome, float]:
        """The next step of the chain."""
        chain, step = self._chain, self._next
        assert chain is not None
        try:
            taken = chain.result(step)
        except BaseException:
            self._drop()
            raise
        self._next += 1
        if self._next == len(chain):
            self._chain = None
        return taken

    def _drop(self) -> None:
        """Forgets what is being computed."""
        if self._chain is None:
            return
        self._chain.release()
        lost = max(0, self._chain.begun - self._next)
        self.counts.discarded += lost
        self.counts.wasted_passes += lost * self.sampling_steps
        self._chain, self._expected, self._parent = None, None, None


def _cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
