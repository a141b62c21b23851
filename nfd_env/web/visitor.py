"""One visitor: where they are in their timeline, and how they move through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfd_env.controls import Controls
from nfd_env.web.choices import Modes
from nfd_env.web.engine import Engine, Seen
from nfd_env.web.limits import Bucket, Limits, RequestError
from nfd_env.web.moments import Moment
from nfd_env.web.start import Start, context_of
from nfd_env.web.timeline import Timeline

AHEAD = 15
"""Moments after one whose picture is imagined again that get theirs back as well."""
Show = Callable[[Moment], Awaitable[None]]
"""Shows a moment to the visitor."""


@dataclass(frozen=True)
class _Ahead:
    """A step that the stream takes right after one whose end nobody has seen yet."""

    action: np.ndarray
    sampling: int | None
    step: int
    """Of the moment that it leads to."""
    seen: asyncio.Future[Seen]


class Visitor:
    """A visitor's session: it outlives their connection.

    Args:
        session: what the page knows it by.
        stream: which of the engine's streams is theirs.
        engine: imagines.
        limits: what they may use.
        modes: what keys do, in each action mode; default: in the world's own.
    """

    def __init__(
        self,
        session: str,
        stream: int,
        engine: Engine,
        limits: Limits,
        modes: Modes | None = None,
    ) -> None:
        self.session, self.stream = session, stream
        self.engine, self.world = engine, engine.world
        self.modes = Modes(engine.world) if modes is None else modes
        self.bucket = Bucket(limits.messages_per_second, 2 * limits.messages_per_second)
        self.timeline = Timeline(
            limits.timeline_mb, limits.snapshot_mb, most_moments=limits.moments
        )
        self.way_steps = limits.way_steps
        """Steps that are imagined again on the way back to a moment, at most."""
        self.here: int | None = None
        """The moment that they look at; None before their first start."""
        self.uploaded: np.ndarray | None = None
        """Frames that they brought, uint8 (C, H, W, 3)."""
        self.drifted = 0
        """Steps that were repeated and came out differently: 0 where the arithmetic is exact."""
        self.began = self.heard = time.monotonic()
        self.connection: Any = None
        """Of their open page; None while there is none."""
        self._live: int | None = None  # the moment at which the stream is, if that is known
        self._coming: int | None = None  # step of the new moment that is being imagined
        self._ahead: _Ahead | None = None  # what follows it
        self._playing: asyncio.Task[None] | None = None
        # A page that was taken over by another one may still be in the middle of a step.
        self._moving = asyncio.Lock()

    @property
    def mode(self) -> str:
        """The action mode of the line that they are on."""
        if self.here is None:
            return self.modes.default
        return str(self.timeline.start_of(self.here).mode)

    @property
    def controls(self) -> Controls:
        """What keys do here."""
        return self.modes.controls[self.mode]

    # -- moving --------------------------------------------------------------------------------

    async def start(self, start: Start) -> Moment:
        """Begins a line of moments, or goes back to where an equal one began.

        Raises:
            RequestError: if the world has no such clip.
        """
        async with self._moving:
            for branch in self.timeline.branches.values():
                first = self.timeline[branch.moments[0]]
                if first.parent is None and first.start == start:
                    if not first.picture:
                        first = await self._imagine_again(first)
                    self.here = first.id
                    self.timeline.shown(first.id)
                    return first
            seen = await self._reset(start)
            moment = self.timeline.add(
                None, None, picture=seen.picture, check=seen.check, start=start
            )
            self._live = self.here = moment.id
            return moment

    async def act(self, action: np.ndarray, sampling: int | None = None) -> Moment:
        """Goes one step on from here: to a moment that is known, or into a new one.

        Args:
            action: float32 (K,), encoded and checked.
            sampling: denoising steps, one of those that the engine offers; None: its default.

        Raises:
            RequestError: if there is no going on.
        """
        async with self._moving:
            now = self.now()
            sampling = self.engine.sampling_steps if sampling is None else sampling
            moment = self.timeline.following(now.id, action, sampling)
            if moment is None:
                if now.ended:
                    raise RequestError(
                        "the episode has ended here: go back to an earlier moment, or start anew."
                    )
                self.timeline.make_room(now.id)
                seen = await self._next(now, action, sampling)
                moment = self.timeline.add(
                    now.id,
                    action,
                    picture=seen.picture,
                    check=seen.check,
                    reward=seen.reward,
                    total=now.total + seen.reward,
                    uncertainty=seen.uncertainty,
                    sampling=sampling,
                    ended=seen.ended,
                )
                self.here = moment.id
                self._arrived(moment, seen)
            elif not moment.picture:
                moment = await self._imagine_again(moment)
            self.here = moment.id
            self.timeline.shown(moment.id)
            return moment

    def expect(self, action: np.ndarray, sampling: int | None = None) -> None:
        """Tells which action :meth:`act` will be given once the one under way is done.

        The stream then goes on without a break. If something else happens instead, nothing came of
        it: the stream returns to where it should be, as it does from anywhere.

        Args:
            action: float32 (K,), encoded and checked.
            sampling: denoising steps, as :meth:`act` takes them.
        """
        if self._coming is None or self._ahead is not None:
            return
        step = self._coming + 1
        sampling = self.engine.sampling_steps if sampling is None else sampling
        save = self.timeline.wants_snapshot(step)
        seen = self.engine.step(self.stream, action, sampling, save=save)
        # It fails where the episode has ended before it; asyncio is not to complain of that.
        seen.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._ahead = _Ahead(action, sampling, step, seen)

    async def go(self, number: Any) -> Moment:
        """Goes to a known moment. The stream follows when a step is taken from there.

        Raises:
            RequestError: if there is no such moment, or no way to imagine it again.
        """
        moment = await self.look(number)
        self.here = moment.id
        return moment

    async def look(self, number: Any) -> Moment:
        """A known moment with its picture, which is imagined again if it was dropped.

        Raises:
            RequestError: if there is no such moment, or no way to imagine it again.
        """
        async with self._moving:
            moment = self.timeline.shown(number)
            return moment if moment.picture else await self._imagine_again(moment)

    def way_back(self, number: int) -> int:
        """How many steps are imagined again to see a moment; 0 if its picture is kept."""
        moment = self.timeline[number]
        if moment.picture or moment.parent is None:
            return 0
        return len(self.timeline.way_to(moment.parent, self._live)[2]) + 1

    def now(self) -> Moment:
        """The moment that they look at; RequestError if there is none yet."""
        if self.here is None:
            raise RequestError("nothing has begun yet: choose a start.")
        return self.timeline[self.here]

    async def play(
        self,
        start: Start,
        actions: Sequence[tuple[np.ndarray, int | None]],
        fps: float | None,
        show: Show,
    ) -> Moment:
        """Walks a whole path, at most ``fps`` steps a second (None: as fast as it goes).

        Args:
            start: where it begins.
            actions: what :meth:`act` is given, step by step.
            fps: steps a second, at most.
            show: shows each moment.
        """
        moment = await self.start(start)
        await show(moment)
        due = time.monotonic()
        for action, sampling in actions:
            moment = await self.act(action, sampling)
            await show(moment)
            if fps is not None:
                due = max(due + 1 / fps, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
        return moment

    def play_in_background(self, walk: Any) -> None:
        """Lets a coroutine that moves the visitor run until it ends, or they move themselves."""
        self._playing = asyncio.ensure_future(walk)

    async def stop(self) -> None:
        """Stops what :meth:`play_in_background` began."""
        task, self._playing = self._playing, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # -- the stream ----------------------------------------------------------------------------

    async def _next(self, now: Moment, action: np.ndarray, sampling: int | None) -> Seen:
        """What follows a moment that has no such future yet."""
        ahead, step = self._ahead, now.step + 1
        try:
            if (
                ahead is not None
                and self._live == now.id
                and (ahead.step, ahead.sampling) == (step, sampling)
                and np.array_equal(ahead.action, action)
            ):
                self._ahead, self._live, self._coming = None, None, step
                return await ahead.seen
            await self._come_to(now.id)
            self._coming = step
            save = self.timeline.wants_snapshot(step)
            return await self._step(action, sampling, show=True, save=save)
        finally:
            self._coming = None

    def _drop_ahead(self) -> None:
        """Forgets what was expected; the stream may be a step further than is known."""
        if self._ahead is not None:
            self._ahead.seen.cancel()
            self._ahead = self._live = None

    async def _come_to(self, number: int) -> None:
        """Brings the stream to a moment, by as few steps as possible."""
        self._drop_ahead()
        begin, snapshot, steps = self.timeline.way_to(number, self._live)
        if len(steps) > self.way_steps:
            raise RequestError(
                f"from the nearest moment whose state is kept, step {begin.step}, it is "
                f"{len(steps)} steps to here; at most {self.way_steps} are imagined again. Go to a "
                f"step from {begin.step} to {begin.step + self.way_steps} of this line instead."
            )
        if begin.id != self._live:
            self._live = None
            if snapshot is not None:
                await self.engine.restore(self.stream, snapshot)
            else:
                await self._begin_again(begin)
            self._live = begin.id
        for moment in steps:
            await self._step_again(moment)

    async def _imagine_again(self, moment: Moment) -> Moment:
        """A moment whose picture was dropped, with its picture.

        Those on the way to it and a few after it get theirs back as well: whoever looks there goes
        on looking there.
        """
        if moment.parent is None:
            found = await self._begin_again(moment)
        else:
            await self._come_to(moment.parent)
            found = await self._step_again(moment)
        for after in self.timeline.after(moment.id, AHEAD):
            if after.picture:
                break
            await self._step_again(after)
        self.timeline.shown(moment.id)
        return found

    async def _begin_again(self, moment: Moment) -> Moment:
        seen = await self._reset(moment.start)
        self._live = moment.id
        return self._kept(moment, seen)

    async def _step_again(self, moment: Moment) -> Moment:
        """Takes the step to a known moment, at whose parent the stream is."""
        seen = await self._step(
            np.array(moment.action, np.float32),
            moment.sampling,
            show=not moment.picture,
            save=self.timeline.wants_snapshot(moment.step),
        )
        self._arrived(moment, seen)
        return self._kept(moment, seen)

    def _kept(self, moment: Moment, seen: Seen) -> Moment:
        self.drifted += seen.check != moment.check
        if moment.picture:
            return moment
        return self.timeline.keep_picture(moment.id, seen.picture)

    async def _step(
        self, action: np.ndarray, sampling: int | None, *, show: bool, save: bool
    ) -> Seen:
        # Until the answer is there, nobody knows where the stream is: a cancelled wait forgets it.
        self._live = None
        return await self.engine.step(self.stream, action, sampling, show=show, save=save)

    def _arrived(self, moment: Moment, seen: Seen) -> None:
        self._live = moment.id
        if seen.snapshot is not None:
            size, here = seen.snapshot.num_bytes, moment.id if self.here is None else self.here
            self.timeline.put_snapshot(moment.id, seen.snapshot, size, here)

    async def _reset(self, start: Start) -> Seen:
        self._drop_ahead()
        self._live = None
        return await self.engine.reset(self.stream, start.seed, context_of(start, self.world))
