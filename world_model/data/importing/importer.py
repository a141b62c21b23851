"""Imports the recordings of a plan with several processes, resumable at any time.

A process reads a unit (one recording, or several small ones) as a stream and stages its shards;
the parent places them in the order of the plan, and writes into a journal what each unit had. So
the data set does not depend on the number of processes, nor on how often it was interrupted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from world_model.data.importing.findings import Findings, joined
from world_model.data.importing.recordings import ImportFormat, Plan, Recording, RecordingError
from world_model.data.importing.steps import Step, cut_episodes
from world_model.data.metadata import DatasetInfo
from world_model.data.shards import write_shard
from world_model.data.streams import LiveEpisode
from world_model.data.workers import Progress, Worker, run_tasks
from world_model.data.writer import DatasetWriter
from world_model.errors import DataError, StorageError
from world_model.storage import atomic_file, write_json

JOURNAL_PATH = "meta/import.jsonl"
REPORT_PATH = "import.json"
SHARD_BYTES = 16 * 2**20
"""A shard of images is full when its raw frames take this much, which bounds the memory: PNGs are
kept until their shard is written."""
VIDEO_SHARD_BYTES = 4 * 2**30
"""The same for a shard of video, which needs no memory but some disk: 5 minutes of 640x360 pixels,
about 50 MB, are what an interruption costs."""
TOO_SHORT = "no two frames with a known action between them"
PROGRESS_EVERY = 200
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit."""

    shards: int
    """Number of shards that it filled."""
    findings: Findings
    """What was kept, repaired and dropped."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, read back by :meth:`from_dict`."""
        return {"shards": self.shards, "findings": self.findings.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> UnitResult:
        """Rebuilds the result."""
        return cls(int(data["shards"]), Findings.from_dict(data["findings"]))


@dataclass(frozen=True)
class Job:
    """What a process needs to import any unit; picklable."""

    recordings: ImportFormat
    """Reads them."""
    info: DatasetInfo
    """Description of the data set."""
    units: list[tuple[Recording, ...]]
    """The plan's."""
    shard_episodes: int
    """Most episodes of a shard."""
    shard_bytes: int
    """Bytes of raw frames at which a shard is full."""
    staging: Path
    """Folder for finished shards."""

    def staged(self, unit: int, shard: int) -> Path:
        """Where the ``shard``-th shard of a unit waits for its turn."""
        return self.staging / f"unit-{unit:06d}-{shard:04d}.parquet"


def open_writer(recordings: ImportFormat, plan: Plan) -> DatasetWriter:
    """The data set of a plan, new or to be continued.

    Raises:
        DataError: if the folder holds something else, or was begun with other settings.
    """
    settings = {
        "format": type(recordings).__name__,
        "size": list(recordings.size),
        "max_steps": recordings.max_steps,
        **recordings.settings(),
        "recordings": len(plan.recordings),
        "plan": plan.digest(),
    }
    return DatasetWriter(recordings.out, plan.info, settings=settings)


def import_recordings(
    recordings: ImportFormat,
    plan: Plan,
    writer: DatasetWriter,
    *,
    report: Report | None = None,
) -> Findings:
    """Imports what is not in the data set yet, and writes ``import.json``.

    Args:
        recordings: the format.
        plan: what :meth:`ImportFormat.plan` found.
        writer: from :func:`open_writer`.
        report: called with (units in place, frames read since the last call) now and then.

    Returns:
        Everything that was kept, repaired and dropped, over all units.

    Raises:
        DataError: if nothing at all could be imported.
        StorageError: if the disk is full; what was imported so far stays.
    """
    report = report or (lambda placed, read: None)
    units = plan.units()
    journal = _Journal(writer.root / JOURNAL_PATH)
    size = VIDEO_SHARD_BYTES if plan.info.stores_video else SHARD_BYTES
    job = Job(recordings, plan.info, units, writer.shard_episodes, size, writer.staging)
    todo = [unit for unit in range(len(units)) if not journal.has(unit, writer)]
    placed = len(units) - len(todo)
    report(placed, 0)
    ready: dict[int, UnitResult] = {}
    waiting = iter(todo)
    following = next(waiting, None)
    tasks = run_tasks(
        partial(_open_reader, job),
        todo,
        processes=min(recordings.processes, max(1, len(todo))),
        progress=lambda read: report(placed, read),
        doing="reading",
    )
    with closing(tasks):
        for unit, result in tasks:
            ready[unit] = UnitResult.from_dict(result)
            while following in ready:
                _place(following, ready.pop(following), job, journal, writer)
                following = next(waiting, None)
                placed += 1
                report(placed, 0)
    findings = joined([plan.findings, *(result.findings for result in journal.results)])
    _write_report(recordings, plan, findings, writer.root)
    if not findings.kept["episodes"]:
        reasons = "; ".join(row["reason"] for row in findings.rows("dropped")) or "it is empty"
        raise DataError(
            f"nothing could be imported from {recordings.source}: {reasons}. "
            f"{writer.root / REPORT_PATH} says more."
        )
    writer.finish(plan.split_seed)
    return findings


def _place(
    unit: int, result: UnitResult, job: Job, journal: _Journal, writer: DatasetWriter
) -> None:
    first = journal.first_shard(unit)
    for shard in range(result.shards):
        staged = job.staged(unit, shard)
        if first + shard == len(writer.shards):
            writer.adopt(staged, first + shard)
            writer.place(first + shard)
        else:  # it was in place already when the journal did not know yet
            staged.unlink(missing_ok=True)
            staged.with_suffix(".mp4").unlink(missing_ok=True)
    journal.add(unit, result)


@contextmanager
def _open_reader(job: Job) -> Iterator[Worker]:
    yield partial(_import_unit, job)


def _import_unit(job: Job, unit: int, progress: Progress) -> dict[str, Any]:
    findings = Findings()
    episodes = _episodes_of(job.units[unit], job, findings, progress)
    shards = written = 0
    for first in episodes:
        shard = _until_full(chain([first], episodes), job)
        path = job.staged(unit, shards)
        summary = write_shard(path, shard, job.info, first_episode=written, first_index=0)
        shards, written = shards + 1, written + len(summary.episodes)
    return UnitResult(shards, findings).to_dict()


def _until_full(episodes: Iterable[LiveEpisode], job: Job) -> Iterator[LiveEpisode]:
    """As many of the episodes as fit into a shard."""
    size = 0
    for taken, episode in enumerate(episodes, 1):
        yield episode
        size += episode.numbers().num_frames * math.prod(job.info.frame_shape)
        if size >= job.shard_bytes or taken == job.shard_episodes:
            return


def _episodes_of(
    recordings: Iterable[Recording], job: Job, findings: Findings, progress: Progress
) -> Iterator[LiveEpisode]:
    """The episodes of recordings; what is wrong with these goes into ``findings``."""
    for recording in recordings:
        origin = {} if recording.own else {"recording": recording.name}
        origin |= recording.about
        found = False
        try:
            steps = _counted(job.recordings.read(recording, job.info, findings), progress)
            longest, own = job.recordings.max_steps, recording.own
            for episode in cut_episodes(steps, job.info, longest, origin, own=own):
                yield episode
                findings.keep(episodes=1, frames=episode.numbers().num_frames)
                found = True
            if not found:
                findings.dropped(TOO_SHORT, recording.name)
        except RecordingError as error:
            detail = f" ({error.detail})" if error.detail else ""
            findings.dropped(error.reason, recording.name + detail)
        findings.keep(recordings=int(found))


def _counted(steps: Iterator[Step], progress: Progress) -> Iterator[Step]:
    count = 0
    for step in steps:
        count += 1
        if count == PROGRESS_EVERY:
            progress(count)
            count = 0
        yield step
    progress(count)


def _write_report(recordings: ImportFormat, plan: Plan, findings: Findings, root: Path) -> None:
    report = {
        "format": type(recordings).__name__,
        "recordings_found": len(plan.recordings),
        **findings.to_dict(),
    }
    write_json(root / REPORT_PATH, report)


class _Journal:
    """What every unit had, one line each, in order; a line that was cut short does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: list[UnitResult] = []
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                self.results.append(UnitResult.from_dict(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                break
        if len(self.results) != len(lines):
            with atomic_file(path) as temporary:
                temporary.write_text("".join(map(self._line, self.results)))

    def first_shard(self, unit: int) -> int:
        """Number of the first shard of a unit; the units before it are known."""
        return [0, *accumulate(result.shards for result in self.results)][unit]

    def has(self, unit: int, writer: DatasetWriter) -> bool:
        """Whether a unit was imported, and its shards are in place."""
        if unit >= len(self.results):
            return False
        first = self.first_shard(unit)
        shards = range(first, first + self.results[unit].shards)
        return all(writer.has_shard(shard) for shard in shards)

    def add(self, unit: int, result: UnitResult) -> None:
        """Takes a unit down, unless it is known already.

        Raises:
            StorageError: if the journal cannot be written.
        """
        if unit < len(self.results):
            return
        try:
            with self.path.open("a") as file:
                file.write(self._line(result))
        except OSError as error:
            raise StorageError(f"could not write {self.path}: {error}.") from error
        self.results.append(result)

    @staticmethod
    def _line(result: UnitResult) -> str:
        return json.dumps(result.to_dict()) + "\n"
