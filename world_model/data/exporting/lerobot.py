"""A LeRobotDataset v3.0: our own files under LeRobot's names; no image is encoded anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.exporting.episode_stats import episode_stats
from world_model.data.exporting.source import Progress, Source
from world_model.data.metadata import (
    EPISODES_PATH,
    FILES_PER_CHUNK,
    IMAGE_KEY,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    data_path,
)
from world_model.data.shards import read_table
from world_model.data.video_writing import video_rate
from world_model.errors import DataError, StorageError
from world_model.storage import atomic_file, write_json

OWN_COLUMNS = ("next.terminated", "next.frame_missing", "is_last")
LABELS = "observation.labels"
SOURCE_BLOCK = "nfd_source"
"""Where info.json keeps our description; "nfd" would promise our own names of the columns, too."""


def export_lerobot(
    source: Source, out: Path, progress: Progress, *, camera: str, plain: bool
) -> None:
    """Writes the data set.

    Args:
        source: the data set.
        out: the folder.
        progress: called now and then.
        camera: column of the frames, such as ``observation.images.main``.
        plain: leave out what only this project reads. Rows then are those with an action: a last
            frame that nobody acted on goes, and ``next.done`` says what is left of how it ended.

    Raises:
        DataError: if the data set is damaged.
        StorageError: if a file cannot be written.
    """
    if not camera.startswith("observation.") or "/" in camera or ".." in camera:
        raise DataError(f"--camera {camera!r} must be like observation.images.main.")
    lengths: list[int] = []
    rows = 0
    for shard in range(len(source.shards)):
        table = _table(source, shard, camera, plain, first=rows)
        numbers = table.column("episode_index").to_numpy()
        lengths += np.unique(numbers, return_counts=True)[1].tolist()
        with atomic_file(data_path(out, shard)) as path:
            pq.write_table(table, path, row_group_size=1024, store_schema=True)
        if source.info.stores_video:
            _copy(source.video(shard), out / _video(camera, shard))
        rows += table.num_rows
        progress(rows, source.frames)
    _write_episodes(source, out, camera, plain, lengths)
    stats = json.loads((source.root / STATS_PATH).read_text())
    stats[camera] = stats.pop(IMAGE_KEY)
    write_json(out / STATS_PATH, stats)
    _copy(source.root / TASKS_PATH, out / TASKS_PATH)
    info = {name: value for name, value in source.content.items() if name != "nfd"}
    info["features"] = _features(source, camera, plain)
    info["total_frames"] = rows
    if not plain:
        info[SOURCE_BLOCK] = source.content["nfd"]
    with atomic_file(out / "README.md") as path:
        path.write_text(_CARD)
    write_json(out / INFO_PATH, info)


def _table(source: Source, shard: int, camera: str, plain: bool, first: int) -> pa.Table:
    table = read_table(source.shards[shard])
    metadata = dict(table.schema.metadata or {})
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    if plain:
        done = [
            a or b
            for a, b in zip(
                table.column("next.terminated").to_pylist(),
                table.column("next.truncated").to_pylist(),
                strict=True,
            )
        ]
        last, missing = (table.column(n).to_numpy() for n in ("is_last", "next.frame_missing"))
        table = table.drop_columns([n for n in (*OWN_COLUMNS, LABELS) if n in table.column_names])
        table = table.append_column("next.done", pa.array(done, pa.bool_()))
        # An episode of a single frame keeps it: none may be empty.
        only = table.column("frame_index").to_numpy() == 0
        table = table.filter(pa.array(~last | missing | only))
        index = pa.array(np.arange(first, first + table.num_rows), pa.int64())
        table = table.set_column(table.column_names.index("index"), "index", index)
        features["next.done"] = {"dtype": "bool", "_type": "Value"}
    table = table.rename_columns([camera if n == IMAGE_KEY else n for n in table.column_names])
    if IMAGE_KEY in features:
        features[camera] = features.pop(IMAGE_KEY)
    features = {name: features[name] for name in table.column_names}
    described = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": described})


def _write_episodes(
    source: Source, out: Path, camera: str, plain: bool, lengths: list[int]
) -> None:
    try:
        table = pq.read_table(source.root / EPISODES_PATH, partitioning=None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source.root / EPISODES_PATH} is damaged: {error}.") from error
    entries = table.to_pylist()
    kept, start = [], 0
    stats = episode_stats(source, camera)
    for entry, length, numbers in zip(entries, lengths, stats, strict=True):
        renamed = {
            name.replace(f"videos/{IMAGE_KEY}/", f"videos/{camera}/"): value
            for name, value in entry.items()
            if not (plain and name.startswith("nfd/"))
        }
        if f"videos/{camera}/to_timestamp" in renamed:
            begin, rate = renamed[f"videos/{camera}/from_timestamp"], video_rate(source.info.fps)
            renamed[f"videos/{camera}/to_timestamp"] = begin + float(length / rate)
        renamed |= {
            "length": length,
            "dataset_from_index": start,
            "dataset_to_index": start + length,
            **numbers,
        }
        start += length
        kept.append(renamed)
    with atomic_file(out / EPISODES_PATH) as path:
        pq.write_table(pa.Table.from_pylist(kept), path)


def _features(source: Source, camera: str, plain: bool) -> dict[str, Any]:
    left_out = (*OWN_COLUMNS, LABELS) if plain else ()
    features = {
        camera if name == IMAGE_KEY else name: feature
        for name, feature in source.content["features"].items()
        if name not in left_out
    }
    if plain:
        features["next.done"] = {"dtype": "bool", "shape": [1], "names": None}
    return features


def _video(camera: str, shard: int) -> str:
    chunk, file = divmod(shard, FILES_PER_CHUNK)
    return VIDEO_PATH.format(video_key=camera, chunk_index=chunk, file_index=file)


def _copy(source: Path, target: Path) -> None:
    with atomic_file(target) as path:
        try:
            shutil.copyfile(source, path)
        except FileNotFoundError as error:
            raise DataError(f"{source} is missing. Record the data set again.") from error
        except OSError as error:
            raise StorageError(f"could not copy {source} to {target}: {error}.") from error


_CARD = """---
configs:
- config_name: default
  data_files: data/*/*.parquet
tags:
- LeRobot
---
A LeRobotDataset v3.0, exported by NFD-World: `action[t]` was taken at frame t.
"""
