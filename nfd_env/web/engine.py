"""One thread imagines for everybody: what is asked at the same time is stepped together."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
import zlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfd_env.core import ImaginedCore
from nfd_env.snapshot import Snapshot
from nfd_env.starts import StartProvider
from nfd_env.web.pictures import encode
from world_model.types import Context

GATHER_SECONDS = 0.001
"""How long a batch waits for those who are about to ask as well."""


@dataclass(frozen=True)
class Seen:
    """What a stream shows after it was asked for something."""

    picture: bytes
    """The frame, encoded; empty where it was not asked for."""
    check: int
    """CRC-32 of its pixels."""
    reward: float = 0.0
    """Of the step."""
    uncertainty: float = 0.0
    """Of the step."""
    ended: str = ""
    """``terminated``, ``horizon`` or ``uncertainty`` where the episode has ended."""
    snapshot: Snapshot | None = None
    """Of the new moment, where it was asked for."""
    batch: int = 1
    """Streams that were stepped together."""
    seconds: float = 0.0
    """Time that the step took."""


@dataclass(frozen=True)
class _Job:
    stream: int
    done: Future[Seen]
    action: np.ndarray | None = None
    steps: int | None = None
    show: bool = True
    save: bool = False
    restore: Snapshot | None = None
    seed: int | None = None
    context: Context | None = None


class _ChosenStarts:
    """The starts of a core, or for one reset the context that was chosen."""

    def __init__(self, usual: StartProvider) -> None:
        self.usual = usual
        self.chosen: Context | None = None

    def draw(self, seeds: Any) -> list[Context]:
        if self.chosen is not None:
            return [self.chosen] * len(seeds)
        return self.usual.draw(seeds)

    def close(self) -> None:
        close = getattr(self.usual, "close", None)
        if close is not None:
            close()


class Engine:
    """Steps the streams of a core in a thread of its own.

    Every stream has one job at a time in each round, so nobody waits for another one's many.

    Args:
        core: the streams; from now on the engine's alone.
        most: streams in one pass; default: all. With 1 no frame depends on who else plays: matrix
            products of another shape differ in the last digit.
        offered: numbers of denoising steps that can be asked for, besides the core's own; none
            where its rollout knows of no others.
    """

    def __init__(
        self, core: ImaginedCore, most: int | None = None, offered: Sequence[int] = ()
    ) -> None:
        self.core = core
        self.sampling_steps: int | None = None
        """Denoising steps per frame where none are asked for; None: nothing to choose."""
        self.own_steps: int | None = None
        """The world's own number; None: nothing to choose."""
        self.offered = tuple(offered)
        """Numbers of denoising steps that can be asked for."""
        self._rollouts: dict[int | None, Any] = {None: core.rollout}
        if self.offered:
            self.sampling_steps = core.rollout.sampling_steps
            self.own_steps = core.world.config.sampling_steps
            self._rollouts = {n: core.rollout.with_sampling_steps(n) for n in self.offered}
        self.world = core.world
        self.most = core.num_envs if most is None else max(1, most)
        self.rounds = 0
        self._starts = _ChosenStarts(core.starts)
        core.starts = self._starts
        core.reset(seeds=[0] * core.num_envs)
        self._asked: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="nfd-engine", daemon=True)
        self._thread.start()

    # -- what can be asked, from an event loop -------------------------------------------------

    async def reset(self, stream: int, seed: int, context: Context | None = None) -> Seen:
        """Starts an episode, from ``context`` or from what the seed chooses."""
        return await self._ask(_Job(stream, Future(), seed=seed, context=context))

    async def restore(self, stream: int, snapshot: Snapshot) -> None:
        """Returns to a snapshot of one stream."""
        await self._ask(_Job(stream, Future(), restore=snapshot, show=False))

    def step(
        self,
        stream: int,
        action: np.ndarray,
        steps: int | None = None,
        *,
        show: bool = True,
        save: bool = False,
    ) -> asyncio.Future[Seen]:
        """Takes one step. It is asked for at once, whether or not its end is waited for.

        Args:
            stream: which one; its jobs are done in the order in which they were asked for.
            action: float32 (K,), encoded and checked.
            steps: denoising steps, one of :attr:`offered`; None: :attr:`sampling_steps`.
            show: whether the frame is wanted as a picture.
            save: whether a snapshot is wanted.
        """
        steps = self.sampling_steps if steps is None else steps
        return self._ask(_Job(stream, Future(), action=action, steps=steps, show=show, save=save))

    def _ask(self, job: _Job) -> asyncio.Future[Seen]:
        if not self._thread.is_alive():
            raise RuntimeError("the engine has stopped.")
        self._asked.put(job)
        return asyncio.wrap_future(job.done)

    def close(self) -> None:
        """Stops the thread; twice is fine."""
        if self._thread.is_alive():
            self._asked.put(None)
            self._thread.join()
            self.core.close()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        waiting: dict[int, deque[_Job]] = {}
        turn = 0
        going = True
        while going or waiting:
            going = self._collect(waiting, going)
            # Whoever was left out of a batch is first in the next one.
            order = sorted(waiting, key=lambda stream: (stream - turn) % self.core.num_envs)
            steps: list[_Job] = []
            for stream in order:
                job = waiting[stream][0]
                if job.action is not None and len(steps) == self.most:
                    continue
                waiting[stream].popleft()
                if not waiting[stream]:
                    del waiting[stream]
                if not job.done.set_running_or_notify_cancel():
                    continue
                if job.action is None:
                    self._settle([job], self._begin)
                else:
                    steps.append(job)
            if steps:
                turn = (steps[-1].stream + 1) % self.core.num_envs
                steps.sort(key=lambda job: job.stream)
                self.rounds += 1
                for number in dict.fromkeys(job.steps for job in steps):
                    self._settle([job for job in steps if job.steps == number], self._step)

    def _collect(self, waiting: dict[int, deque[_Job]], going: bool) -> bool:
        """Sorts what was asked by stream; waits for something if there is nothing to do."""
        block = not waiting and going
        while True:
            try:
                job = self._asked.get(block=block)
            except queue.Empty:
                return going
            if block and self.most > 1:
                time.sleep(GATHER_SECONDS)
            block = False
            if job is None:
                going = False
            else:
                waiting.setdefault(job.stream, deque()).append(job)

    def _settle(self, jobs: list[_Job], work: Any) -> None:
        try:
            for job, seen in zip(jobs, work(jobs), strict=True):
                job.done.set_result(seen)
        except Exception as error:  # the thread must outlive a failed job
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(error)

    def _begin(self, jobs: list[_Job]) -> list[Seen]:
        job, stream = jobs[0], jobs[0].stream
        if job.restore is not None:
            self.core.restore(job.restore, [stream])
            return [Seen(b"", 0)]
        mask = np.zeros(self.core.num_envs, np.bool_)
        mask[stream] = True
        seeds: list[int | None] = [None] * self.core.num_envs
        seeds[stream] = job.seed
        self._starts.chosen = job.context
        try:
            self.core.reset(mask, seeds)
        finally:
            self._starts.chosen = None
        frame = self.core.observation(stream)
        return [Seen(encode(frame), zlib.crc32(frame.tobytes()))]

    def _step(self, jobs: list[_Job]) -> list[Seen]:
        began = time.perf_counter()
        actions = np.stack([job.action for job in jobs if job.action is not None])
        self.core.rollout = self._rollouts[jobs[0].steps]
        result = self.core.step_some([job.stream for job in jobs], actions)
        frames = result.observations
        seconds = time.perf_counter() - began
        return [
            Seen(
                encode(frames[i]) if job.show else b"",
                zlib.crc32(frames[i].tobytes()),
                float(result.rewards[i]),
                float(result.uncertainty[i]),
                "terminated" if result.terminated[i] else result.truncation_reasons[i] or "",
                self.core.save([job.stream]) if job.save else None,
                len(jobs),
                seconds,
            )
            for i, job in enumerate(jobs)
        ]
