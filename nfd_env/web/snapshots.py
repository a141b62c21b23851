"""The snapshots of a timeline in bounded memory: close together where a visitor was last."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nfd_env.web.moments import Branch, Moment


@dataclass(frozen=True)
class _Kept:
    snapshot: Any
    size: int
    turn: int
    """How many snapshots had been put before."""


class Snapshots:
    """Snapshots of moments, thinned out where they need too much memory.

    The one goes that spares the fewest steps, and of those the one that was put longest ago: that
    with the least ``steps / sqrt(age)``, where ``steps`` lead to it from the snapshot before it and
    ``age`` counts those put since. So the gap between two grows with the square root of how long
    ago the visitor was there, and with that of the whole line's length.

    Args:
        moments: of the timeline, by number.
        branches: of the timeline, by number.
        most_bytes: memory; one snapshot is kept even if it needs more.
    """

    def __init__(
        self, moments: Mapping[int, Moment], branches: Mapping[int, Branch], most_bytes: float
    ) -> None:
        self.bytes = 0
        self._moments, self._branches, self._most_bytes = moments, branches, most_bytes
        self._kept: dict[int, _Kept] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    def __getitem__(self, number: int) -> Any:
        """The snapshot of a moment."""
        return self._kept[number].snapshot

    def put(self, number: int, snapshot: Any, size: int, here: int) -> None:
        """Keeps the snapshot of a moment; the one from which ``here`` is reached never goes."""
        self.drop(number)
        self._kept[number] = _Kept(snapshot, size, self._turn)
        self._turn += 1
        self.bytes += size
        while self.bytes > self._most_bytes and len(self._kept) > 1:
            self.drop(self._least(here))

    def drop(self, number: int) -> None:
        """Forgets the snapshot of a moment, if there is one."""
        kept = self._kept.pop(number, None)
        if kept is not None:
            self.bytes -= kept.size

    def _least(self, here: int) -> int:
        """The moment whose snapshot is worth the least."""
        on: dict[int, list[int]] = {}  # numbers by branch: they ascend as steps do
        for number in sorted(self._kept):
            on.setdefault(self._moments[number].branch, []).append(number)
        near = self._last(on, here, bisect_right)

        def worth(number: int) -> float:
            before = self._last(on, number, bisect_left)
            steps = self._moments[number].step - (0 if before is None else self._step(before))
            return steps / math.sqrt(self._turn - self._kept[number].turn)

        return min((number for number in self._kept if number != near), key=worth)

    def _last(self, on: Mapping[int, list[int]], at: int, bisect: Any) -> int | None:
        """The nearest snapshot on the way to a moment; None if that is the start."""
        while True:
            branch = self._branches[self._moments[at].branch]
            known = on.get(branch.id, [])
            index = bisect(known, at)
            if index:
                return known[index - 1]
            if branch.fork is None:
                return None
            at, bisect = branch.fork, bisect_right

    def _step(self, number: int) -> int:
        return self._moments[number].step
