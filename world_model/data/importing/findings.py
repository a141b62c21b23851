"""What an import came across: kept, repaired, dropped, and how often, with a few examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5
"""Examples to name for each finding."""
KINDS = ("repaired", "dropped", "noted")
"""What was done about a finding, in the order of the report."""


@dataclass
class Finding:
    """One kind of trouble, over all recordings."""

    count: int = 0
    """How often, in the unit it is counted in."""
    recordings: int = 0
    """In how many recordings."""
    examples: list[str] = field(default_factory=list)
    """Where, the first few."""


class Findings:
    """Counts of everything that was kept, repaired, dropped or worth a note.

    Findings of parts are joined by :meth:`merge` in the order of the recordings, so that the
    report does not depend on who read what.
    """

    def __init__(self) -> None:
        self.kept = {"recordings": 0, "episodes": 0, "frames": 0}
        self._found: dict[tuple[str, str, str], Finding] = {}

    def keep(self, *, recordings: int = 0, episodes: int = 0, frames: int = 0) -> None:
        """Counts what will be in the data set."""
        self.kept["recordings"] += recordings
        self.kept["episodes"] += episodes
        self.kept["frames"] += frames

    def repaired(self, reason: str, where: str, count: int = 1, of: str = "frames") -> None:
        """Something was wrong and could be put right: ``count`` of the unit ``of``."""
        self._add("repaired", reason, where, count, of)

    def dropped(self, reason: str, where: str, count: int = 1, of: str = "recordings") -> None:
        """Something could not be used: ``count`` of the unit ``of``."""
        self._add("dropped", reason, where, count, of)

    def noted(self, reason: str, where: str, count: int = 1, of: str = "frames") -> None:
        """Something is kept as it is, but worth knowing."""
        self._add("noted", reason, where, count, of)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The findings of a kind, most recordings first, as in ``import.json``."""
        rows = [
            {
                "reason": reason,
                "count": found.count,
                "of": of,
                "recordings": found.recordings,
                "examples": found.examples,
            }
            for (this, reason, of), found in self._found.items()
            if this == kind
        ]
        return sorted(rows, key=lambda row: (-row["recordings"], row["reason"], row["of"]))

    def merge(self, other: Findings) -> None:
        """Adds what was found in the recordings that follow."""
        self.keep(**other.kept)
        for key, found in other._found.items():
            mine = self._found.setdefault(key, Finding())
            mine.count += found.count
            mine.recordings += found.recordings
            mine.examples = (mine.examples + found.examples)[:EXAMPLES]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, read back by :meth:`from_dict`."""
        return {"kept": dict(self.kept), **{kind: self.rows(kind) for kind in KINDS}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Findings:
        """Rebuilds what :meth:`to_dict` described, or raises what a damaged one trips it over."""
        findings = cls()
        findings.keep(**data["kept"])
        for kind in KINDS:
            for row in data[kind]:
                key = (kind, row["reason"], row["of"])
                findings._found[key] = Finding(
                    row["count"], row["recordings"], list(row["examples"])
                )
        return findings

    def _add(self, kind: str, reason: str, where: str, count: int, of: str) -> None:
        if not count:
            return
        found = self._found.setdefault((kind, reason, of), Finding())
        found.count += count
        found.recordings += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append(where)


class RecordingCounts:
    """Frames of one recording with something about them, to be told at its end."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, kind: str, reason: str) -> None:
        """Counts one frame."""
        self._counts[kind, reason] = self._counts.get((kind, reason), 0) + 1

    def tell(self, findings: Findings, name: str) -> None:
        """Adds what was counted, as one recording."""
        for (kind, reason), count in self._counts.items():
            getattr(findings, kind)(reason, name, count, "frames")


def joined(parts: Iterable[Findings]) -> Findings:
    """The findings of several parts as one."""
    whole = Findings()
    for part in parts:
        whole.merge(part)
    return whole
