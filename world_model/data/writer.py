"""Writes a data set shard by shard, so that it can be interrupted and continued at any time."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.metadata import (
    CODEBASE_VERSION,
    DATA_PATH,
    EPISODES_PATH,
    FILES_PER_CHUNK,
    IMAGE_KEY,
    INFO_PATH,
    LARGEST_IMAGE,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    DatasetInfo,
    data_path,
    video_path,
)
from world_model.data.shards import (
    ShardSummary,
    read_summary,
    renumber_shard,
    shard_video,
    write_shard,
)
from world_model.data.splits import split_episodes, to_ranges
from world_model.data.statistics import merged_stats
from world_model.data.streams import AnyEpisode
from world_model.data.video_writing import video_rate
from world_model.errors import DataError, StorageError
from world_model.storage import atomic_file, write_json

RECORDING_PATH = "meta/recording.json"


class DatasetWriter:
    """A data set that is being written.

    Shards (parquet files of ``shard_episodes`` episodes, each with an mp4 where frames are stored
    as video) are placed in order, each whole or not at all. ``meta/info.json`` is written last, by
    :meth:`finish`: a folder without it is a recording that was interrupted, which a writer with
    the same settings continues.

    Args:
        root: folder of the data set; made if there is none.
        info: description of the data set.
        settings: JSON-able settings that decide the content of the episodes. Going on with
            other settings is refused.
        shard_episodes: episodes in each shard but possibly the last.

    Raises:
        DataError: if the folder holds a data set with other settings.
        StorageError: if the folder cannot be written.
    """

    def __init__(
        self,
        root: str | Path,
        info: DatasetInfo,
        *,
        settings: dict[str, Any] | None = None,
        shard_episodes: int = 16,
    ) -> None:
        self.root = Path(root)
        self.info = info
        self.shard_episodes = shard_episodes
        self.staging = self.root / ".staging"
        _warn_of_odd_sides(info)
        self._check_settings(
            {"nfd": info.to_dict(), "shard_episodes": shard_episodes, "settings": settings or {}}
        )
        # What a killed writer left behind was never part of the data set.
        shutil.rmtree(self.staging, ignore_errors=True)
        for pattern in ("data/*/.*.tmp.parquet", f"videos/{IMAGE_KEY}/*/.*.tmp.mp4"):
            for leftover in self.root.glob(pattern):
                leftover.unlink(missing_ok=True)
        self.shards: list[ShardSummary] = []
        """The shards that are in place, without a gap from the first on."""
        self._find_next()

    @property
    def frames(self) -> int:
        """Number of frames in place."""
        return sum(shard.rows for shard in self.shards)

    @property
    def episodes(self) -> int:
        """Number of episodes in place."""
        return sum(len(shard.episodes) for shard in self.shards)

    def has_shard(self, shard: int) -> bool:
        """Whether a shard is in place, whole: with its mp4, where frames are stored as video.

        Raises:
            DataError: if its parquet file is damaged.
        """
        path = data_path(self.root, shard)
        if not path.exists() or not self.info.stores_video:
            return path.exists()
        video = shard_video(video_path(self.root, shard), read_summary(path), self.info)
        return (
            video is not None and video.path.exists() and (video.path.stat().st_size == video.size)
        )

    def staging_path(self, shard: int) -> Path:
        """Where to write a shard before its turn has come, see :meth:`place`.

        :func:`world_model.data.shards.write_shard` puts its mp4 beside it.
        """
        return self.staging / f"shard-{shard:06d}.parquet"

    def adopt(self, staged: Path, shard: int) -> None:
        """Takes a shard that was staged under another name, with its mp4, for :meth:`place`.

        Raises:
            StorageError: if it cannot be moved.
        """
        target = self.staging_path(shard)
        if self.info.stores_video:
            _move(staged.with_suffix(".mp4"), target.with_suffix(".mp4"))
        _move(staged, target)

    def place(self, shard: int) -> None:
        """Moves the staged shard into the data set; it must be the next in order.

        Raises:
            StorageError: if it cannot be written.
        """
        if shard != len(self.shards):
            raise DataError(f"shard {shard} cannot be placed: the next one is {len(self.shards)}.")
        self._unfinish()
        staged, target = self.staging_path(shard), data_path(self.root, shard)
        if self.info.stores_video:
            _move(staged.with_suffix(".mp4"), video_path(self.root, shard))
        renumber_shard(
            staged, target, self.info, first_episode=self.episodes, first_index=self.frames
        )
        staged.unlink()
        self._find_next()

    def append(self, episodes: Iterable[AnyEpisode]) -> None:
        """Writes ``episodes`` as the next shard.

        They are asked for one after the other, so a generator needs memory for one of them; an
        :class:`~world_model.data.streams.EpisodeStream` not even for that.

        Raises:
            DataError: if one does not fit the data set.
            StorageError: if they cannot be written.
        """
        self._unfinish()
        target = data_path(self.root, len(self.shards))
        write_shard(
            target,
            episodes,
            self.info,
            first_episode=self.episodes,
            first_index=self.frames,
            video=video_path(self.root, len(self.shards)),
        )
        self._find_next()

    def finish(self, split_seed: int = 0) -> None:
        """Writes the meta files; from then on the data set can be read.

        Raises:
            DataError: if there is no episode.
            StorageError: if they cannot be written.
        """
        if not self.shards:
            raise DataError(f"{self.root} has no episodes; there is nothing to finish.")
        splits = split_episodes(self.episodes, split_seed)
        with atomic_file(self.root / TASKS_PATH) as path:
            pq.write_table(_tasks_table(self.info.task), path)
        with atomic_file(self.root / EPISODES_PATH) as path:
            pq.write_table(_episodes_table(self.shards, self.info, splits), path)
        write_json(self.root / STATS_PATH, merged_stats([shard.stats for shard in self.shards]))
        with atomic_file(self.root / "README.md") as path:
            path.write_text(_card(self.info, self.episodes, self.frames))
        size = sum(data_path(self.root, i).stat().st_size for i in range(len(self.shards)))
        videos = [shard.video["size"] for shard in self.shards if shard.video]
        write_json(
            self.root / INFO_PATH,
            {
                "codebase_version": CODEBASE_VERSION,
                "robot_type": None,
                "total_episodes": self.episodes,
                "total_frames": self.frames,
                "total_tasks": 1,
                "chunks_size": FILES_PER_CHUNK,
                "data_files_size_in_mb": max(1, math.ceil(size / len(self.shards) / 2**20)),
                "video_files_size_in_mb": math.ceil(sum(videos) / len(self.shards) / 2**20),
                "fps": self.info.fps,
                "splits": {name: to_ranges(indices) for name, indices in splits.items()},
                "data_path": DATA_PATH,
                "video_path": VIDEO_PATH if self.info.stores_video else None,
                "features": self.info.features(),
                "nfd": {**self.info.to_dict(), "split_seed": split_seed},
            },
        )
        shutil.rmtree(self.staging, ignore_errors=True)

    def _unfinish(self) -> None:
        (self.root / INFO_PATH).unlink(missing_ok=True)

    def _find_next(self) -> None:
        """Extends ``shards`` by what lies in the folder."""
        while self.has_shard(len(self.shards)):
            self.shards.append(read_summary(data_path(self.root, len(self.shards))))

    def _check_settings(self, settings: dict[str, Any]) -> None:
        path = self.root / RECORDING_PATH
        try:
            old = json.loads(path.read_text())
        except FileNotFoundError:
            if any(self.root.glob("data/*/*.parquet")):
                raise DataError(
                    f"{self.root} holds a data set that was not recorded here. Choose another "
                    "folder, or delete it."
                ) from None
            write_json(path, settings)
            return
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}. Delete the folder.") from error
        new = json.loads(json.dumps(settings))
        if old != new:
            raise DataError(
                f"{self.root} was recorded with other settings ({_difference(old, new)}). Give the "
                "same settings to go on with it, or choose another folder."
            )


def write_dataset(
    root: str | Path,
    episodes: Iterable[AnyEpisode],
    info: DatasetInfo,
    *,
    shard_episodes: int = 16,
    split_seed: int = 0,
) -> Path:
    """Writes ``episodes``, asked for one after the other, as a new data set in the folder ``root``.

    Raises:
        DataError: if there are none, one does not fit ``info``, or ``root`` holds a data set.
        StorageError: if they cannot be written.
    """
    writer = DatasetWriter(root, info, shard_episodes=shard_episodes)
    if writer.shards:
        raise DataError(f"{root} holds a data set already. Choose another folder, or delete it.")
    rest = iter(episodes)
    for first in rest:
        writer.append(chain([first], islice(rest, shard_episodes - 1)))
    writer.finish(split_seed)
    return writer.root


def _warn_of_odd_sides(info: DatasetInfo) -> None:
    height, width, _ = info.frame_shape
    if info.storage == "auto" and max(height, width) > LARGEST_IMAGE and not info.stores_video:
        warnings.warn(
            f"frames of {width}x{height} pixels are stored as PNGs, which take many times the room "
            f"of video: H.264 needs even sides. For video choose {width // 2 * 2}x"
            f"{height // 2 * 2} pixels (--size {height // 2 * 2} {width // 2 * 2}).",
            stacklevel=3,
        )


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    except OSError as error:
        raise StorageError(f"could not move {source} to {target}: {error.strerror}.") from error


def _difference(old: Any, new: Any, name: str = "") -> str:
    """The first differing entry of two JSON values, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    return f"{name}: {old!r} there, {new!r} now"


def _tasks_table(task: str) -> pa.Table:
    table = pa.table({"task_index": pa.array([0]), "task": pa.array([task])})
    # LeRobot reads the task as the index of a pandas frame; pandas itself is not needed for that.
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "int64", "int64"),
            _pandas_column("task", "unicode", "object"),
        ],
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def _episodes_table(
    shards: list[ShardSummary], info: DatasetInfo, splits: dict[str, np.ndarray]
) -> pa.Table:
    rows: list[dict[str, Any]] = []
    validation, start = set(splits["validation"].tolist()), 0
    for i, shard in enumerate(shards):
        chunk, file = divmod(i, FILES_PER_CHUNK)
        shown = 0  # frames of the shard's video
        for episode in shard.episodes:
            video: dict[str, Any] = {}
            if info.stores_video:
                rate, end = video_rate(info.fps), shown + episode["length"]
                span = {"from_timestamp": float(shown / rate), "to_timestamp": float(end / rate)}
                where = {"chunk_index": chunk, "file_index": file, **span}
                video = {f"videos/{IMAGE_KEY}/{name}": value for name, value in where.items()}
                shown = end
            rows.append(
                {
                    "episode_index": len(rows),
                    "tasks": [info.task],
                    "length": episode["length"],
                    "dataset_from_index": start,
                    "dataset_to_index": start + episode["length"],
                    "data/chunk_index": chunk,
                    "data/file_index": file,
                    **video,
                    "meta/episodes/chunk_index": 0,
                    "meta/episodes/file_index": 0,
                    "nfd/split": "validation" if len(rows) in validation else "train",
                    "nfd/return": episode["return"],
                    "nfd/info": json.dumps(episode["info"], sort_keys=True),
                }
            )
            start += episode["length"]
    return pa.Table.from_pylist(rows)


def _card(info: DatasetInfo, episodes: int, frames: int) -> str:
    """README.md; its head tells ``datasets`` which parquet files hold the rows."""
    source = json.dumps(info.source, indent=2)
    kept = "as H.264 video" if info.stores_video else "lossless"
    return f"""---
configs:
- config_name: default
  data_files: data/*/*.parquet
tags:
- LeRobot
- world-model
---
# {info.source.get("preset") or info.source.get("name", "Episodes")}

{episodes} episodes, {frames} frames of {info.frame_shape[0]}x{info.frame_shape[1]} pixels at
{info.fps:g} frames per second, {kept}, in the LeRobotDataset v3.0 layout.

`action[t]` takes frame t to frame t + 1. Where `next.frame_missing` is true, the episode ended
with that action and the environment had no frame to show for it; otherwise the action of an
episode's last row is unused.

```json
{source}
```
"""
