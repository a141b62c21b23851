"""Any folder of videos with a table of actions beside each: csv, jsonl or npy, by the same stem.

A schema says what the columns mean.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from world_model.data.importing.arrays import read_npy
from world_model.data.importing.findings import Findings, RecordingCounts
from world_model.data.importing.folder_schema import Schema, read_schema
from world_model.data.importing.paths import find_files, inside
from world_model.data.importing.recordings import (
    ImportFormat,
    Plan,
    Recording,
    RecordingError,
    unique,
)
from world_model.data.importing.steps import Step
from world_model.data.importing.video import (
    DAMAGED,
    DEMUXERS,
    VideoDamaged,
    open_video,
)
from world_model.data.metadata import DatasetInfo
from world_model.data.resizing import resize_picture
from world_model.errors import DataError

TABLES = (".csv", ".jsonl", ".npy")
NO_TABLE = f"there is a video, but no {', '.join(TABLES)} beside it"
WRONG_TABLE = "the table of actions cannot be read"
MISMATCH = "the numbers of frames and of rows are too far apart"
ONE_TOO_MANY = "frames without a row, or rows without a frame, at the end"
UNKNOWN = "rows that the schema does not fit: what was done then is unknown"
TOLERANCE = 0.02


@dataclass(frozen=True)
class Folder(ImportFormat):
    """Imports a folder of videos, each with a csv, jsonl or npy file of the same name beside it.

    Row t of the file is what was done at frame t.
    """

    schema: Path | None = None
    """JSON file: {"fps": 20, "reward": "score", "actions": [{"name": "jump", "type": "button"},
    {"name": "gear", "type": "choice", "choices": ["low", "high"]}, {"name": "steer", "type":
    "number", "low": -1, "high": 1}]}; "column" where it is not the name; npy needs "columns";
    "terminated" and "truncated" name columns, too."""

    def settings(self) -> dict[str, Any]:
        """The schema decides the content too."""
        return {"schema": self._schema().to_dict()}

    def plan(self) -> Plan:
        """Looks through the folder."""
        if not self.source.is_dir():
            raise DataError(f"{self.source} is no folder; give the folder with the videos.")
        schema, findings = self._schema(), Findings()
        recordings = []
        for suffix in sorted(DEMUXERS):
            for video in find_files(self.source, suffix, findings):
                name = video.relative_to(self.source).with_suffix("").as_posix()
                tables = [t for t in TABLES if inside(self.source, name + t)]
                found = [p for t in tables if (p := video.with_suffix(t)).is_file()]
                if found:
                    recordings.append(Recording(name, video, found[0]))
                else:
                    findings.dropped(NO_TABLE, name)
        source = {"name": self.source.resolve().name, "format": "folder"}
        info = DatasetInfo(schema.spec, (*self.size, 3), schema.fps, source=source)
        return Plan(tuple(unique(recordings, findings)), info, findings)

    def read(self, recording: Recording, info: DatasetInfo, findings: Findings) -> Iterator[Step]:
        """The frames up to where video or rows end."""
        schema, name = self._schema(), recording.name
        rows = _read_table(recording.actions, schema)
        counts = RecordingCounts()
        with open_video(recording.video) as video:
            if abs(video.declared - len(rows)) > max(2, TOLERANCE * max(video.declared, len(rows))):
                raise RecordingError(MISMATCH, f"{video.declared} frames, {len(rows)} rows")
            seen = 0
            try:
                for index, (row, frame) in enumerate(zip(rows, video.frames(), strict=False)):
                    seen = index + 1
                    known = schema.decode(row)
                    last = seen == len(rows)
                    if known is None:
                        if row or not last:  # an empty row at the end: nothing was done any more
                            counts.add("dropped", UNKNOWN)
                        yield Step(index, resize_picture(frame, self.size), None)
                        continue
                    terminated = schema.says(schema.terminated, row)
                    ends = last and (terminated or schema.says(schema.truncated, row))
                    small = resize_picture(frame, self.size)
                    yield Step(index, small, *known, ends=ends, terminated=terminated)
            except VideoDamaged as damage:
                rest = max(1, len(rows) - seen)
                findings.dropped(DAMAGED, f"{name} {damage.detail}", rest, "frames")
            else:
                where = f"{name} ({video.declared} frames, {len(rows)} rows)"
                findings.repaired(ONE_TOO_MANY, where, max(video.declared, len(rows)) - seen)
            finally:
                counts.tell(findings, name)

    def _schema(self) -> Schema:
        if self.schema is None:
            raise DataError(
                "--schema FILE.json is missing: it says what the columns of actions mean, such as "
                '{"fps": 20, "actions": [{"name": "jump", "type": "button"}]}.'
            )
        return read_schema(self.schema)


def _read_table(path: Path, schema: Schema) -> list[Mapping[str, Any]]:
    """The rows, each by the names of its columns; one that cannot be read is empty."""
    try:
        if path.suffix == ".npy":
            array = read_npy(path)
            if array.ndim != 2 or array.shape[1] != len(schema.columns):
                raise RecordingError(
                    WRONG_TABLE,
                    f"{path.name} has shape {array.shape}, and the schema has "
                    f"{len(schema.columns)} 'columns'",
                )
            return [dict(zip(schema.columns, row, strict=True)) for row in array.tolist()]
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows: list[Mapping[str, Any]] = list(csv.DictReader(file))
        else:
            rows = [_json_row(line) for line in path.read_text("utf-8").splitlines() if line]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(WRONG_TABLE, f"{path.name}: {error}") from error
    present = {str(key) for row in rows for key in row}
    if missing := [c for c in schema.needed if c not in present]:
        raise RecordingError(
            WRONG_TABLE,
            f"{path.name} has no column {', '.join(missing)}, but {', '.join(sorted(present)[:9])}",
        )
    return rows


def _json_row(line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
