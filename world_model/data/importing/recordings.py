"""What a format has to say: which recordings there are, and the steps of one of them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from world_model.data.importing.findings import Findings
from world_model.data.importing.steps import Step
from world_model.data.metadata import DatasetInfo
from world_model.errors import DataError

UNIT_BYTES = 32 * 2**20
"""Recordings smaller than this are imported several at a time, so that shards are not tiny."""


class RecordingError(DataError):
    """A recording that cannot be used at all; ``reason`` is what the report counts."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Recording:
    """One recording: a video, and a file of what the player did."""

    name: str
    """Its path within the source without a suffix, with forward slashes."""
    video: Path
    """The video."""
    actions: Path
    """The file with the actions."""
    about: dict[str, str] = field(default_factory=dict)
    """More for the info of its episodes."""
    own: bool = False
    """Whether it is an episode of this project, whose info is ``about`` and no more."""
    share: int | None = None
    """Bytes that it takes of files that it shares with other recordings."""

    @property
    def size(self) -> int:
        """Bytes of both files, or of its share of them."""
        if self.share is not None:
            return self.share
        return self.video.stat().st_size + self.actions.stat().st_size


@dataclass(frozen=True)
class Plan:
    """What is to be imported."""

    recordings: tuple[Recording, ...]
    """In the order of the data set."""
    info: DatasetInfo
    """Description of the data set."""
    findings: Findings = field(default_factory=Findings)
    """What was wrong with the source before any recording was opened."""
    split_seed: int = 0
    """Seed of the split into episodes for training and for validation."""

    def units(self) -> list[tuple[Recording, ...]]:
        """The recordings in portions that a process reads in one go."""
        units: list[tuple[Recording, ...]] = []
        size = UNIT_BYTES
        for recording in self.recordings:
            if size >= UNIT_BYTES:
                units.append(())
                size = 0
            units[-1] = (*units[-1], recording)
            size += recording.size
        return units

    def digest(self) -> str:
        """Name of the plan, 16 hex digits: a source that has changed has another."""
        parts = [[r.name, r.size, r.about] for r in self.recordings]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ImportFormat(ABC):
    """A format with its settings; picklable, so that every process can have it."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Folder with the recordings, or a file that lists them."""
    out: Path
    """Folder of the data set."""
    size: tuple[int, int] = (64, 64)
    """Height and width of the frames, averaged over areas. Up to 128 pixels they are stored as
    lossless images; above, as video: 360 640 keeps VPT's recordings as they are."""
    max_steps: int = 1200
    """Longest episode; longer recordings are cut into several (1200 are a minute at 20 Hz)."""
    processes: int = 2
    """Processes that read; their number does not change the data."""

    takes_recorded_size: ClassVar[bool] = False
    """Whether a size of 0 0 stands for that of the recordings."""

    @abstractmethod
    def plan(self) -> Plan:
        """Looks through the source.

        Raises:
            DataError: if there is none, or it is of another format.
        """

    @abstractmethod
    def read(self, recording: Recording, info: DatasetInfo, findings: Findings) -> Iterator[Step]:
        """The steps of one recording, read as they are asked for.

        Where a recording becomes unusable midway, the steps end there, and ``findings`` tell.

        Raises:
            RecordingError: before the first step, if nothing of the recording can be used.
        """

    def settings(self) -> dict[str, Any]:
        """JSON-able settings beyond size and length that decide what is imported."""
        return {}

    def check(self) -> None:
        """Raises DataError for settings out of range."""
        as_recorded = self.takes_recorded_size and tuple(self.size) == (0, 0)
        if not as_recorded and (min(self.size) < 1 or max(self.size) > 4096):
            raise DataError(f"--size {self.size[0]} {self.size[1]} is not in 1..4096.")
        if self.max_steps < 1 or self.processes < 1:
            raise DataError(
                f"--max-steps {self.max_steps} and --processes {self.processes} must be at least 1."
            )
        if not self.source.exists():
            raise DataError(f"{self.source} does not exist; give the folder of the recordings.")
        root = self.source if self.source.is_dir() else self.source.parent
        if self.out.resolve().is_relative_to(root.resolve()) and self.source.is_dir():
            raise DataError(f"--out {self.out} lies inside the source; choose a folder outside.")


def unique(recordings: Sequence[Recording], findings: Findings) -> list[Recording]:
    """The recordings sorted by name, each once."""
    by_name: dict[str, Recording] = {}
    for recording in recordings:
        if recording.name in by_name:
            findings.dropped("listed more than once", recording.name)
        by_name.setdefault(recording.name, recording)
    return [by_name[name] for name in sorted(by_name)]
