"""A data set's episodes one by one, straight from its files: nothing is decoded into a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from world_model.data.importing.cells import numbers
from world_model.data.metadata import (
    IMAGE_KEY,
    INFO_PATH,
    DatasetInfo,
    data_path,
    read_info,
    video_path,
)
from world_model.data.shards import decode_images, read_summary, read_table, shard_video
from world_model.data.streams import EpisodeStream
from world_model.errors import DataError

CHUNK = 32  # frames in memory at a time
Progress = Callable[[int, int], None]
"""Called with the number of frames done and of all."""


@dataclass(frozen=True)
class Source:
    """A data set that is complete."""

    root: Path
    """Its folder."""
    content: dict[str, Any]
    """Content of its info.json."""
    info: DatasetInfo
    """Its description."""
    shards: tuple[Path, ...]
    """Its parquet files."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        return int(self.content["total_frames"])

    def video(self, shard: int) -> Path:
        """The mp4 of a shard."""
        return video_path(self.root, shard)

    def episodes(self) -> Iterator[EpisodeStream]:
        """The episodes, in order; the frames of each are to be read before the next is asked for.

        Raises:
            DataError: if a file is damaged.
        """
        for shard, path in enumerate(self.shards):
            summary = read_summary(path)
            columns = [n for n, f in self.info.columns().items() if f["dtype"] != "image"]
            table = read_table(path, columns)
            arrays = {name: numbers(table.column(name)) for name in columns}
            video = shard_video(self.video(shard), summary, self.info)
            pictures: pa.ChunkedArray | None = None
            if video is None:
                pictures = read_table(path, [IMAGE_KEY]).column(0)
            else:
                video.check()
                video.check_content()
            start = 0
            for episode in summary.episodes:
                stop = start + int(episode["length"])
                if video is not None:
                    frames = video.read(start, stop, chunk=CHUNK)
                else:
                    assert pictures is not None
                    frames = self._images(path, pictures, start, stop)
                yield self._episode(arrays, start, stop, frames, episode["info"])
                start = stop

    def _images(
        self, path: Path, pictures: pa.ChunkedArray, start: int, stop: int
    ) -> Iterator[np.ndarray]:
        for row in range(start, stop, CHUNK):
            part = pictures.slice(row, min(CHUNK, stop - row))
            yield decode_images(path, part, self.info.frame_shape, first_row=row)

    def _episode(
        self,
        arrays: dict[str, np.ndarray],
        start: int,
        stop: int,
        frames: Iterator[np.ndarray],
        info: dict[str, str],
    ) -> EpisodeStream:
        end = stop if arrays["next.frame_missing"][stop - 1, 0] else stop - 1
        state = arrays.get("observation.state")
        return EpisodeStream(
            frames=frames,
            num_frames=stop - start,
            actions=arrays["action"][start:end],
            rewards=arrays["next.reward"][start:end, 0],
            terminated=arrays["next.terminated"][start:end, 0].astype(bool),
            truncated=arrays["next.truncated"][start:end, 0].astype(bool),
            state=np.zeros((stop - start, 0), np.float32) if state is None else state[start:stop],
            info=info,
        )


def open_source(root: Path) -> Source:
    """Opens a data set.

    Raises:
        DataError: if there is none, it is damaged or unfinished.
    """
    content = read_info(root)
    info = DatasetInfo.from_dict(content["nfd"], str(root / INFO_PATH))
    shards: list[Path] = []
    while (path := data_path(root, len(shards))).exists():
        shards.append(path)
    rows = sum(read_summary(path).rows for path in shards)
    if rows != content.get("total_frames"):
        raise DataError(
            f"{root} should have {content.get('total_frames')} frames, but its files have {rows}. "
            "Run the command that recorded them again."
        )
    return Source(root, content, info, tuple(shards))
