"""Who is here: sessions, the streams they hold, and when they end."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from nfd_env.web.choices import Modes
from nfd_env.web.engine import Engine
from nfd_env.web.limits import MEGABYTE, FullError, Limits
from nfd_env.web.visitor import Visitor


class Lobby:
    """The sessions of all visitors.

    Args:
        engine: has a stream for each.
        limits: how many, how long.
        modes: what keys do, in each action mode; default: in the world's own.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        modes: Modes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine, self.limits, self.clock = engine, limits, clock
        self.modes = Modes(engine.world) if modes is None else modes
        self.visitors: dict[str, Visitor] = {}
        self.links = SavedLinks()
        count = min(limits.visitors, engine.core.num_envs)
        self._free = list(range(count))[::-1]

    def enter(self, session: str | None = None) -> Visitor:
        """The visitor of a session that goes on, or a new one.

        Raises:
            FullError: if all places are taken.
        """
        known = self.visitors.get(session) if session else None
        if known is not None:
            known.heard = self.clock()
            return known
        if not self._free:
            self._make_room()
        visitor = Visitor(
            secrets.token_urlsafe(16), self._free.pop(), self.engine, self.limits, self.modes
        )
        visitor.began = visitor.heard = self.clock()
        self.visitors[visitor.session] = visitor
        return visitor

    def end(self, visitor: Visitor) -> None:
        """Ends a session and frees its stream; twice is fine."""
        if self.visitors.pop(visitor.session, None) is not None:
            self._free.append(visitor.stream)

    def overdue(self) -> list[tuple[Visitor, str]]:
        """Sessions whose time is up, each with the reason in words."""
        now, found = self.clock(), []
        for visitor in self.visitors.values():
            if now - visitor.began > 60 * self.limits.session_minutes:
                found.append((visitor, f"{self.limits.session_minutes:g} minutes are over"))
            elif now - visitor.heard > 60 * self.limits.idle_minutes:
                found.append(
                    (visitor, f"nothing happened for {self.limits.idle_minutes:g} minutes")
                )
        return found

    def _make_room(self) -> None:
        """Ends the session that has been without a page for longest, if long enough."""
        away = [v for v in self.visitors.values() if v.connection is None]
        gone = min(away, key=lambda v: v.heard, default=None)
        if gone is None or self.clock() - gone.heard < self.limits.away_seconds:
            raise FullError(
                f"all {len(self.visitors)} places are taken. A place is free when somebody leaves: "
                "this page tries again."
            )
        self.end(gone)


class SavedLinks:
    """Paths too long for an address, kept in memory under short names; the oldest go first."""

    def __init__(self, most: int = 500, most_bytes: int = 32 * MEGABYTE) -> None:
        self.most, self.most_bytes = most, most_bytes
        self._kept: OrderedDict[str, str] = OrderedDict()

    def put(self, text: str) -> str:
        """Keeps ``text``; returns its name."""
        name = secrets.token_urlsafe(9)
        self._kept[name] = text
        while len(self._kept) > self.most or self.bytes > self.most_bytes:
            self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> str | None:
        """What was kept under a name."""
        return self._kept.get(name)

    @property
    def bytes(self) -> int:
        """Memory of all that is kept."""
        return sum(map(len, self._kept.values()))
