"""Steps that are computed in the background, from a copy of a state that stays as it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

from world_model.protocol import RolloutProtocol
from world_model.step_graphs import only_replays
from world_model.types import StepOutcome

Step = tuple[Any, StepOutcome]
"""The state after a step, and what it brought."""


class Chain:
    """A few steps of a rollout under given actions, one after another.

    Args:
        state: where they start; copied first and never written to, unless ``owned``.
        actions: float32 (B, K) for each step.
        owned: nobody else needs the state.
    """

    def __init__(self, state: Any, actions: Sequence[Tensor], *, owned: bool = False) -> None:
        self._state, self._actions, self._owned = state, list(actions), owned
        self._lock, self._copied = threading.Lock(), threading.Event()
        self._copying, self._cancelled = False, False
        self._futures: list[Future[Step]] = [Future() for _ in actions]
        self._process = os.getpid()
        self.begun = 0
        """Steps that were computed, or at least begun."""

    def __len__(self) -> int:
        return len(self._futures)

    @property
    def alive(self) -> bool:
        """False in a fork of the process that computes it: threads do not survive that."""
        return self._process == os.getpid()

    def result(self, step: int) -> Step:
        """The outcome of step number ``step``; waits for it, and raises what it raised."""
        return self._futures[step].result()

    def release(self) -> None:
        """Begins nothing more; then waits until the state that it started from is free."""
        if not self.alive:
            return
        with self._lock:
            self._cancelled = True
            copying = self._copying
        if copying:
            self._copied.wait()

    def run(self, rollout: RolloutProtocol[Any]) -> None:
        """Computes the steps; called by the worker."""
        state: Any = self._state if self._owned else None
        with self._lock:
            self._copying = not (self._cancelled or self._owned)
        if self._copying:
            try:
                state = self._state.clone()
            except Exception as error:
                self._fail(0, error)
                return
            finally:
                self._copied.set()
        with only_replays():
            self._take_steps(rollout, state)

    def _take_steps(self, rollout: RolloutProtocol[Any], state: Any) -> None:
        last = len(self._actions) - 1
        for number, (actions, future) in enumerate(zip(self._actions, self._futures, strict=True)):
            with self._lock:
                if self._cancelled:
                    future.cancel()
                    continue
                self.begun += 1
            try:
                after, outcome = rollout.advance(state, actions)
                # Who takes the state over may write to it at once.
                state = after.clone() if number < last else None
            except Exception as error:
                self._fail(number, error)
                return
            future.set_result((after, outcome))

    def _fail(self, first: int, error: Exception) -> None:
        """Whoever asks for a step from ``first`` on gets the error."""
        self._cancelled = True
        for future in self._futures[first:]:
            future.set_exception(error)


class Worker:
    """One background thread, started when it is first needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def start(self, chain: Chain, rollout: RolloutProtocol[Any]) -> None:
        """Computes ``chain`` as soon as what was started before is done."""
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="nfd-ahead")
            self._process = os.getpid()
        self._pool.submit(chain.run, rollout)

    def close(self) -> None:
        """Waits for what is being computed, and ends the thread."""
        if self._pool is not None and self._process == os.getpid():
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
