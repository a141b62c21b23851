"""The tree of all moments that a visitor has seen: what was done, what came of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from nfd_env.web.limits import MEGABYTE, RequestError
from nfd_env.web.moments import Branch, Done, Moment
from nfd_env.web.snapshots import Snapshots

BLOCK = 8
"""One part in so many is freed at a time, so that room is not made at every step."""


class Timeline:
    """Moments, branches and snapshots of one visitor, in bounded memory.

    The same action at the same moment leads to the same future, so it is kept once; with another
    number of denoising steps it leads to another one. Where pictures need more memory than there
    is, those that were shown longest ago are dropped; their moments stay.

    Args:
        picture_mb: memory for pictures, in MiB; one is kept even if it needs more.
        snapshot_mb: memory for snapshots, in MiB. If they need more, they are thinned out: going
            back then replays more steps.
        every: steps between snapshots, before any are thinned.
        most_moments: moments, at most. A new one then takes the place of the oldest lines.
    """

    def __init__(
        self,
        picture_mb: float = 32.0,
        snapshot_mb: float = 32.0,
        every: int = 16,
        most_moments: int = 150_000,
    ) -> None:
        self.moments: dict[int, Moment] = {}
        self.branches: dict[int, Branch] = {}
        self.every = every
        self.bytes = 0
        """Memory of the pictures."""
        self.gone: list[int] = []
        """Branches that made room for new moments, until somebody takes note and clears it."""
        self.snapshots = Snapshots(self.moments, self.branches, snapshot_mb * MEGABYTE)
        self._most_bytes = picture_mb * MEGABYTE
        self.most_moments = most_moments
        self._pictured: dict[int, None] = {}  # what was shown longest ago comes first
        self._following: dict[tuple[int, Done], int] = {}
        self._next = 0

    def __getitem__(self, number: Any) -> Moment:
        """The moment with that number; RequestError if there is none."""
        moment = self.moments.get(number) if isinstance(number, int) else None
        if moment is None:
            raise RequestError("there is no such moment in this timeline (any more).")
        return moment

    # -- growing -------------------------------------------------------------------------------

    def add(self, parent: int | None, action: np.ndarray | None, **what: Any) -> Moment:
        """Adds what followed ``parent`` under ``action``, or a start.

        Where the parent has a future already, a new branch begins.

        Raises:
            RequestError: if there are too many moments, see :meth:`make_room`.
        """
        self.make_room(parent)
        before = None if parent is None else self[parent]
        done = () if action is None else tuple(float(value) for value in action)
        if before is not None and self.branches[before.branch].moments[-1] == before.id:
            branch = self.branches[before.branch]
        else:
            branch = self._new_branch(parent)
        number = self._number()
        moment = Moment(
            number, parent, branch.id, 0 if before is None else before.step + 1, done, **what
        )
        self.moments[number] = moment
        branch.moments.append(number)
        if parent is not None:
            self._following[parent, moment.done] = number
        self._pictured[number] = None
        self.bytes += len(moment.picture)
        self._drop_pictures()
        return moment

    def make_room(self, parent: int | None) -> None:
        """Forgets the oldest lines if there are too many moments for one that follows ``parent``.

        Raises:
            RequestError: if nothing can be forgotten but the line that ``parent`` is on.
        """
        if len(self.moments) < self.most_moments:
            return
        needed = set() if parent is None else self._branches_to(parent)
        for number in list(self.branches):  # in the order in which they began
            if len(self.moments) <= self.most_moments * (1 - 1 / BLOCK):
                break
            if number in self.branches and number not in needed:
                self.gone += self._remove(number)
        if len(self.moments) >= self.most_moments:
            raise RequestError(
                f"this line has {len(self.moments)} moments, all that a session may have: start "
                "anew, and this line makes room, or go back to a moment that is known."
            )

    def following(
        self, parent: int, action: np.ndarray, sampling: int | None = None
    ) -> Moment | None:
        """What is known to follow ``parent`` under ``action``, in so many denoising steps."""
        done = tuple(float(value) for value in action), sampling
        number = self._following.get((parent, done))
        return None if number is None else self.moments[number]

    def rename(self, branch: Any, name: Any) -> Branch:
        """Gives a branch a name of at most 40 printable characters."""
        found = self._branch(branch)
        cleaned = " ".join("".join(c for c in str(name) if c.isprintable()).split())[:40]
        found.name = cleaned or found.name
        return found

    def forget(self, branch: Any, here: int) -> list[int]:
        """Removes a branch and all that leave from it; returns the numbers of the branches.

        Raises:
            RequestError: if the moment ``here`` is on one of them.
        """
        found = self._branch(branch)
        if found.id in self._branches_to(here):
            raise RequestError("you are on this branch: go to another one before you forget it.")
        return self._remove(found.id)

    # -- going back ----------------------------------------------------------------------------

    def back_from(self, number: int) -> Iterator[Moment]:
        """A moment, the one before it, and so on to the start."""
        at: int | None = number
        while at is not None:
            moment = self[at]
            yield moment
            at = moment.parent

    def after(self, number: int, most: int) -> list[Moment]:
        """The moments that come after one on its branch, at most so many."""
        known = self.branches[self[number].branch].moments
        first = bisect_right(known, number)
        return [self.moments[n] for n in known[first : first + most]]

    def path_to(self, number: int) -> list[Moment]:
        """From the start to a moment, both included."""
        return list(self.back_from(number))[::-1]

    def start_of(self, number: int) -> Any:
        """What the line that a moment is on starts from."""
        branch = self.branches[self[number].branch]
        while branch.fork is not None:
            branch = self.branches[self.moments[branch.fork].branch]
        return self.moments[branch.moments[0]].start

    def wants_snapshot(self, step: int) -> bool:
        """Whether a moment so many steps after its start should get one."""
        return step > 0 and step % self.every == 0

    def put_snapshot(self, number: int, snapshot: Any, size: int, here: int) -> None:
        """Keeps the snapshot of a moment; that from which ``here`` is reached never goes."""
        self.snapshots.put(number, snapshot, size, here)

    def way_to(self, number: int, live: int | None) -> tuple[Moment, Any, list[Moment]]:
        """The shortest way to be at a moment again.

        Args:
            number: the moment.
            live: the moment at which the stream is now, if any.

        Returns:
            ``(from, snapshot, steps)``: where to begin, its snapshot (None: it is ``live``, or a
            start), and the moments to step through from there.
        """
        steps: list[Moment] = []
        for moment in self.back_from(number):
            if moment.id == live or moment.parent is None:
                return moment, None, steps[::-1]
            if moment.id in self.snapshots:
                return moment, self.snapshots[moment.id], steps[::-1]
            steps.append(moment)
        raise AssertionError("every way back ends at a start")

    # -- pictures ------------------------------------------------------------------------------

    def shown(self, number: Any) -> Moment:
        """A moment that is about to be shown; its picture may have been dropped."""
        moment = self[number]
        if number in self._pictured:
            del self._pictured[number]
            self._pictured[number] = None
        return moment

    def keep_picture(self, number: int, picture: bytes) -> Moment:
        """Gives a moment its picture back."""
        moment = replace(self[number], picture=picture)
        self.bytes += len(picture) - len(self.moments[number].picture)
        self.moments[number] = moment
        self._pictured.pop(number, None)
        self._pictured[number] = None
        self._drop_pictures()
        return moment

    def _drop_pictures(self) -> None:
        """Drops those that were shown longest ago if all together need too much memory."""
        if self.bytes <= self._most_bytes:
            return
        while self.bytes > self._most_bytes * (1 - 1 / BLOCK) and len(self._pictured) > 1:
            number = next(iter(self._pictured))
            del self._pictured[number]
            self.bytes -= len(self.moments[number].picture)
            self.moments[number] = replace(self.moments[number], picture=b"")

    # -- the rest ------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Everything but the pictures, for JSON."""
        return {
            "branches": [vars(branch) for branch in self.branches.values()],
            "moments": [
                [
                    m.id,
                    m.parent,
                    m.branch,
                    m.step,
                    m.reward,
                    m.total,
                    m.uncertainty,
                    m.ended,
                    m.sampling,
                ]
                for m in self.moments.values()
            ],
        }

    def _branch(self, number: Any) -> Branch:
        if not isinstance(number, int) or number not in self.branches:
            raise RequestError("there is no such branch in this timeline (any more).")
        return self.branches[number]

    def _branches_to(self, number: int) -> set[int]:
        """The branch of a moment, and all those that it was reached along."""
        found: set[int] = set()
        at: int | None = number
        while at is not None:
            branch = self.branches[self[at].branch]
            found.add(branch.id)
            at = branch.fork
        return found

    def _remove(self, branch: int) -> list[int]:
        """Removes a branch and all that leave from it; returns their numbers."""
        gone = [branch]
        for other in self.branches.values():  # in the order in which they began
            if other.fork is not None and self.moments[other.fork].branch in gone:
                gone.append(other.id)
        for number in gone:
            for moment in self.branches.pop(number).moments:
                old = self.moments.pop(moment)
                self.bytes -= len(old.picture)
                self._pictured.pop(moment, None)
                self.snapshots.drop(moment)
                if old.parent is not None:
                    self._following.pop((old.parent, old.done), None)
        return gone

    def _new_branch(self, fork: int | None) -> Branch:
        number = self._number()
        count = sum((b.fork is None) == (fork is None) for b in self.branches.values()) + 1
        name = f"Start {count}" if fork is None else f"Branch {count}"
        self.branches[number] = Branch(number, name, fork)
        return self.branches[number]

    def _number(self) -> int:
        self._next += 1
        return self._next
