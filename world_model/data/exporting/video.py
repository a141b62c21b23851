"""One mp4 and one jsonl file per episode, with the schema that ``nfd import folder`` needs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from world_model.action_spec import ActionSpec
from world_model.data.exporting.source import Progress, Source
from world_model.data.streams import EpisodeStream
from world_model.data.video_writing import encoding
from world_model.errors import DataError
from world_model.storage import atomic_file, write_json

SCHEMA_PATH = "schema.json"
LARGEST = float(np.finfo(np.float32).max)
"""Bound of a number that has none: JSON has no infinity."""


def export_video(source: Source, out: Path, progress: Progress) -> None:
    """Writes ``episode_000000.mp4``, ``episode_000000.jsonl``, ... and ``schema.json``.

    Line t of a jsonl file is what was done at frame t; the last one is empty where nothing was.

    Raises:
        DataError: if frames have odd sides, which H.264 has not, or the data set is damaged.
        StorageError: if a file cannot be written.
    """
    height, width, _ = source.info.frame_shape
    if height % 2 or width % 2:
        raise DataError(
            f"frames of {width}x{height} pixels cannot be video: H.264 needs even sides. Use "
            "another format."
        )
    columns = schema_of(source.info.action_spec)
    done = 0
    for number, episode in enumerate(source.episodes()):
        stem = out / f"episode_{number:06d}"
        with (
            atomic_file(stem.with_suffix(".mp4")) as path,
            encoding(path, source.info.frame_shape, source.info.fps) as encoder,
        ):
            for frames in episode.frames:
                encoder.add(frames)
                done += len(frames)
                progress(done, source.frames)
        with atomic_file(stem.with_suffix(".jsonl")) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in _rows(episode, columns)))
    schema = {
        "fps": source.info.fps,
        "reward": "reward",
        "terminated": "terminated",
        "truncated": "truncated",
        "actions": columns,
    }
    write_json(out / SCHEMA_PATH, schema)


def schema_of(spec: ActionSpec) -> list[dict[str, Any]]:
    """The actions as a schema has them, one entry per column of the action vector."""
    columns: list[dict[str, Any]] = []
    for group in spec.groups:
        if group.kind == "categorical":
            if len(set(group.labels)) == group.size > 1:
                columns.append(
                    {"name": group.name, "type": "choice", "choices": list(group.labels)}
                )
            else:
                choices = [str(i) for i in range(max(group.size, 2))]
                columns.append({"name": group.name, "type": "choice", "choices": choices})
            continue
        for i in range(group.size):
            name = group.name if group.size == 1 else f"{group.name}.{i}"
            low, high = group.low[i], group.high[i]
            bounds = {
                "low": low if math.isfinite(low) else -LARGEST,
                "high": high if math.isfinite(high) else LARGEST,
            }
            columns.append({"name": name, "type": "number", **bounds})
    taken = {"reward", "terminated", "truncated"}
    for column in columns:
        name = column["name"]
        while column["name"] in taken:
            column["name"] += "_"
        taken.add(column["name"])
        if column["name"] != name:
            column["column"] = column["name"]
    return columns


def _rows(episode: EpisodeStream, columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for t, vector in enumerate(episode.actions.tolist()):
        row = {
            column["name"]: column["choices"][int(value)] if "choices" in column else value
            for column, value in zip(columns, vector, strict=True)
        }
        row["reward"] = float(episode.rewards[t])
        row["terminated"] = bool(episode.terminated[t])
        row["truncated"] = bool(episode.truncated[t])
        rows.append(row)
    return rows + [{}] * (episode.num_frames - len(rows))
