"""LeRobotDatasets as others write them, made from the published layout with pyarrow and PyAV alone.

Frame t of episode e shows the number 100 e + t, and its action and reward are functions of that.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.world_model.data.importing.recorder import number_frame, write_mp4

NAMES = ["x", "y", "grip"]
Action = Callable[[int], Any]


def action_of(number: int) -> list[float]:
    return [number * 7 % 41 / 10 - 2, number * 3 % 11 / 10, float(number % 2)]


def png(number: int, height: int, width: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(number_frame(number, height, width)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": f"frame_{number:06d}.png"}


def rows_of(episode: int, length: int, first: int, action: Action, more: dict[str, Any]) -> dict:
    numbers = [100 * episode + t for t in range(length)]
    return {
        "action": [action(n) for n in numbers],
        "timestamp": [t / 20 for t in range(length)],
        "frame_index": list(range(length)),
        "episode_index": [episode] * length,
        "index": list(range(first, first + length)),
        "task_index": [0] * length,
        **{name: [column(n) for n in numbers] for name, column in more.items()},
    }


def describe(version: str, cameras: dict[str, str], size: tuple[int, int], **more: Any) -> dict:
    height, width = size
    features: dict[str, Any] = {
        name: {
            "dtype": kind,
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
        }
        for name, kind in cameras.items()
    }
    features["action"] = {"dtype": "float32", "shape": [3], "names": NAMES}
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features |= more.pop("features", {})
    return {
        "codebase_version": version,
        "robot_type": "so100",
        "chunks_size": 1000,
        "fps": 20,
        "splits": {"train": "0:2"},
        "features": features,
        **more,
    }


def write_v21(
    root: Path,
    lengths: list[int],
    cameras: dict[str, str],
    *,
    size: tuple[int, int] = (48, 64),
    action: Action = action_of,
    more: dict[str, Action] | None = None,
    **info: Any,
) -> Path:
    """One parquet file and one mp4 per episode."""
    (root / "meta").mkdir(parents=True)
    paths = {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
    }
    about = describe("v2.1", cameras, size, **paths, **info)
    (root / "meta/info.json").write_text(json.dumps(about))
    entries, first = [], 0
    for i, length in enumerate(lengths):
        rows = rows_of(i, length, first, action, more or {})
        for name, kind in cameras.items():
            numbers = [100 * i + t for t in range(length)]
            if kind == "image":
                rows[name] = [png(n, *size) for n in numbers]
            else:
                path = root / f"videos/chunk-000/{name}/episode_{i:06d}.mp4"
                write_mp4(path, (number_frame(n, *size) for n in numbers))
        path = root / f"data/chunk-000/episode_{i:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(rows), path)
        entries.append({"episode_index": i, "tasks": ["stack the cubes"], "length": length})
        first += length
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "stack the cubes"}\n')
    return root


def write_v30(
    root: Path,
    files: list[list[int]],
    camera: str,
    kind: str = "video",
    *,
    size: tuple[int, int] = (48, 64),
    action: Action = action_of,
    more: dict[str, Action] | None = None,
    **info: Any,
) -> Path:
    """Several episodes in a file; ``files`` has their lengths, file by file."""
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    paths = {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    about = describe("v3.0", {camera: kind}, size, **paths, **info)
    (root / "meta/info.json").write_text(json.dumps(about))
    entries: list[dict[str, Any]] = []
    first = 0
    for file, lengths in enumerate(files):
        tables, shown = [], []
        for length in lengths:
            i = len(entries)
            rows = rows_of(i, length, first, action, more or {})
            numbers = [100 * i + t for t in range(length)]
            if kind == "image":
                rows[camera] = [png(n, *size) for n in numbers]
            tables.append(pa.table(rows))
            entry = {
                "episode_index": i,
                "tasks": ["walk"],
                "length": length,
                "dataset_from_index": first,
                "dataset_to_index": first + length,
                "data/chunk_index": 0,
                "data/file_index": file,
                "stats/action/mean": [0.0],
            }
            if kind == "video":
                entry |= {
                    f"videos/{camera}/chunk_index": 0,
                    f"videos/{camera}/file_index": file,
                    f"videos/{camera}/from_timestamp": len(shown) / 20,
                    f"videos/{camera}/to_timestamp": (len(shown) + length) / 20,
                }
            shown += numbers
            entries.append(entry)
            first += length
        path = root / f"data/chunk-000/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(tables), path)
        if kind == "video":
            path = root / f"videos/{camera}/chunk-000/file-{file:03d}.mp4"
            write_mp4(path, (number_frame(n, *size) for n in shown))
    pq.write_table(pa.Table.from_pylist(entries), root / "meta/episodes/chunk-000/file-000.parquet")
    return root
