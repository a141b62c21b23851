"""The tree of all moments that a visitor has seen: what was done, what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nfd_env.web.limits import MEGABYTE, RequestError

MOMENT_BYTES = 400
"""About what a moment takes beside its picture."""


_Done = tuple[tuple[float, ...], int | None]
"""The encoded action, and with how many denoising steps."""


@dataclass(frozen=True)
class Moment:
    """One frame of a timeline."""

    id: int
    """Its number: those of later moments are larger."""
    parent: int | None
    """The moment before; None for a start."""
    branch: int
    """The branch it is on."""
    step: int
    """Steps since the start."""
    action: tuple[float, ...]
    """The encoded action that led here; empty for a start."""
    picture: bytes
    """The frame, encoded."""
    check: int
    """CRC-32 of the frame's pixels."""
    reward: float = 0.0
    """Of the step that led here."""
    total: float = 0.0
    """Sum of the rewards since the start."""
    uncertainty: float = 0.0
    """Of the step that led here."""
    sampling: int | None = None
    """Denoising steps of the frame; None where there is no choice."""
    ended: str = ""
    """``terminated``, ``horizon`` or ``uncertainty`` where the episode ends here."""
    start: Any = None
    """What a moment without a parent starts from."""

    @property
    def done(self) -> _Done:
        """What led here from the moment before."""
        return self.action, self.sampling


@dataclass
class Branch:
    """A line of moments: one future that was played."""

    id: int
    """Its number."""
    name: str
    """What the visitor calls it."""
    fork: int | None
    """The moment of another branch that it leaves from; None if it has a start of its own."""
    moments: list[int] = field(default_factory=list)
    """Its moments, in order."""


class Timeline:
    """Moments, branches and snapshots of one visitor, in bounded memory.

    The same action at the same moment leads to the same future, so it is kept once; with another
    number of denoising steps it leads to another one.

    Args:
        picture_mb: memory for moments with their pictures, in MiB.
        snapshot_mb: memory for snapshots, in MiB. If they need more, only every second one is
            kept, and so on: going back then replays more steps.
        every: steps between snapshots, before any are thinned.
    """

    def __init__(self, picture_mb: float = 32.0, snapshot_mb: float = 32.0, every: int = 16):
        self.moments: dict[int, Moment] = {}
        self.branches: dict[int, Branch] = {}
        self.every = every
        self.bytes = 0
        self._most_bytes = picture_mb * MEGABYTE
        self._most_snapshot_bytes = snapshot_mb * MEGABYTE
        self._snapshots: dict[int, tuple[Any, int]] = {}
        self._following: dict[tuple[int, _Done], int] = {}
        self._next = 0

    def __getitem__(self, number: Any) -> Moment:
        """The moment with that number; RequestError if there is none."""
        moment = self.moments.get(number) if isinstance(number, int) else None
        if moment is None:
            raise RequestError("there is no such moment in this timeline (any more).")
        return moment

    @property
    def full(self) -> bool:
        """Whether there is no memory left for another moment."""
        return self.bytes >= self._most_bytes

    @property
    def snapshot_bytes(self) -> int:
        """Memory of the snapshots."""
        return sum(size for _, size in self._snapshots.values())

    # -- growing -------------------------------------------------------------------------------

    def add(self, parent: int | None, action: np.ndarray | None, **what: Any) -> Moment:
        """Adds what followed ``parent`` under ``action``, or a start.

        Where the parent has a future already, a new branch begins.

        Raises:
            RequestError: if the timeline is full.
        """
        if self.full:
            raise RequestError(
                f"this timeline is full ({len(self.moments)} moments): forget a branch to go on."
            )
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
        self.bytes += _size(moment)
        return moment

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
        gone = [self._branch(branch).id]
        for other in self.branches.values():  # in the order in which they began
            if other.fork is not None and self.moments[other.fork].branch in gone:
                gone.append(other.id)
        if self.moments[here].branch in gone:
            raise RequestError("you are on this branch: go to another one before you forget it.")
        for number in gone:
            for moment in self.branches.pop(number).moments:
                old = self.moments.pop(moment)
                self.bytes -= _size(old)
                self._snapshots.pop(moment, None)
                if old.parent is not None:
                    self._following.pop((old.parent, old.done), None)
        return gone

    # -- going back ----------------------------------------------------------------------------

    def back_from(self, number: int) -> Iterator[Moment]:
        """A moment, the one before it, and so on to the start."""
        at: int | None = number
        while at is not None:
            moment = self[at]
            yield moment
            at = moment.parent

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

    def put_snapshot(self, number: int, snapshot: Any, size: int) -> None:
        """Keeps the snapshot of a moment, and thins them out if they need too much memory."""
        self._snapshots[number] = (snapshot, size)
        while self._snapshots and self.snapshot_bytes > self._most_snapshot_bytes:
            self.every *= 2
            self._snapshots = {
                n: kept
                for n, kept in self._snapshots.items()
                if self.moments[n].step % self.every == 0
            }

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
            if moment.id in self._snapshots:
                return moment, self._snapshots[moment.id][0], steps[::-1]
            steps.append(moment)
        raise AssertionError("every way back ends at a start")

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
            "used": round(self.bytes / self._most_bytes, 3),
        }

    def _branch(self, number: Any) -> Branch:
        if not isinstance(number, int) or number not in self.branches:
            raise RequestError("there is no such branch in this timeline (any more).")
        return self.branches[number]

    def _new_branch(self, fork: int | None) -> Branch:
        number = self._number()
        count = sum((b.fork is None) == (fork is None) for b in self.branches.values()) + 1
        name = f"Start {count}" if fork is None else f"Branch {count}"
        self.branches[number] = Branch(number, name, fork)
        return self.branches[number]

    def _number(self) -> int:
        self._next += 1
        return self._next


def _size(moment: Moment) -> int:
    return len(moment.picture) + MOMENT_BYTES + 32 * len(moment.action)
