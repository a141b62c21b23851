"""One parquet file of rows, a few whole episodes, and their frames: PNGs inside, or an mp4 beside.

Every row is a frame; row i is frame i of the mp4. The parquet schema carries the Hugging Face
feature types, so that plain ``datasets`` decodes the images, and an ``nfd`` entry with what the
meta files need later: the episodes, running statistics, a digest of the content, and the size
and hash of the mp4. The mp4 is placed before the parquet file: a shard is in place when its
parquet file is, and an mp4 on its own counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.columns import (
    arrow_columns,
    arrow_schema,
    check_episode,
    hugging_face_type,
)
from world_model.data.images import IMAGE_ERRORS, IMAGE_TYPE, decode_image, encode_png
from world_model.data.metadata import IMAGE_KEY, DatasetInfo
from world_model.data.statistics import PixelCounts, running_stats
from world_model.data.streams import (
    AnyEpisode,
    EpisodeStream,
    LiveEpisode,
    checked_chunks,
    read_along,
)
from world_model.data.video_reading import ShardVideo
from world_model.data.video_writing import encoding
from world_model.errors import DataError
from world_model.storage import atomic_file, file_hash


@dataclass(frozen=True)
class ShardSummary:
    """What the footer of a shard says about its episodes."""

    episodes: list[dict[str, Any]]
    """``episode_index``, ``length``, ``return`` and the episode's info, in order."""
    stats: dict[str, dict[str, Any]]
    """Per column: min, max, sum, sum of squares (lists over channels) and count."""
    digest: str
    """SHA-256 of all rows."""
    video: dict[str, Any] | None = None
    """``size`` in bytes and ``sha256`` of the mp4, where frames are stored as video."""

    @property
    def rows(self) -> int:
        """Number of frames."""
        return sum(episode["length"] for episode in self.episodes)


def write_shard(
    path: Path,
    episodes: Iterable[AnyEpisode],
    info: DatasetInfo,
    *,
    first_episode: int,
    first_index: int,
    video: Path | None = None,
) -> ShardSummary:
    """Writes ``episodes`` to one parquet file and, where ``info`` says so, an mp4.

    Both are placed whole or not at all. Episodes are asked for one after the other, and forgotten
    but for their numbers (and PNGs, where frames are stored as images).

    Args:
        path: the parquet file.
        episodes: whole episodes: in memory, as streams, or live.
        info: description of the data set.
        first_episode: number of the first of the episodes in the data set.
        first_index: number of its first frame in the data set.
        video: the mp4 (default: beside the parquet file, with its name).

    Raises:
        DataError: if an episode does not fit ``info``, or there is none.
        StorageError: if a file cannot be written.
    """
    intake = _Intake(info)
    recorded: dict[str, Any] | None = None
    with ExitStack() as files:
        temporary = files.enter_context(atomic_file(path))
        if info.stores_video:
            mp4 = files.enter_context(atomic_file(video or path.with_suffix(".mp4")))
            with encoding(mp4, info.frame_shape, info.fps) as encoder:
                intake.take(episodes, encoder.add)
            content = file_hash(mp4)
            recorded = {"size": mp4.stat().st_size, "sha256": content}
            intake.digest.update(content.encode())
        else:
            intake.take(episodes, intake.keep_images)
        summary = ShardSummary(
            episodes=[
                {
                    "episode_index": first_episode + i,
                    "length": episode.num_frames,
                    "return": float(episode.rewards.sum(dtype=np.float64)),
                    "info": dict(episode.info),
                }
                for i, episode in enumerate(intake.episodes)
            ],
            stats=running_stats(intake.episodes, intake.pixels, info),
            digest=intake.digest.hexdigest(),
            video=recorded,
        )
        columns = arrow_columns(intake.episodes, intake.images, info, first_episode)
        table = pa.table(columns, schema=arrow_schema(info))
        _write_table(temporary, table, summary, info, first_index)
    return summary


class _Intake:
    """What a shard needs of episodes that go by."""

    def __init__(self, info: DatasetInfo) -> None:
        self.info = info
        self.episodes: list[EpisodeStream] = []
        self.images: dict[str, list[bytes]] = {IMAGE_KEY: [], "observation.labels": []}
        # Of a video, a sixteenth of the pixels tells as much as all.
        self.pixels = PixelCounts(stride=4 if info.stores_video else 1)
        self.digest = hashlib.sha256()

    def take(self, episodes: Iterable[AnyEpisode], sink: Callable[[np.ndarray], None]) -> None:
        """Sends the frames of ``episodes`` to ``sink`` and keeps the rest."""
        shape = self.info.frame_shape
        for episode in read_along(episodes):
            if isinstance(episode, LiveEpisode):
                shown = self._send(checked_chunks(episode.frames, shape), sink)
                stream = replace(episode.numbers(), frames=())
                check_episode(stream, self.info)
                if shown != stream.num_frames:
                    raise DataError(f"{shown} frames came of an episode of {stream.num_frames}.")
                self.digest.update(str((stream.num_frames, *shape)).encode())
            else:
                check_episode(episode, self.info)
                stream = EpisodeStream.of(episode)
                self.digest.update(str((stream.num_frames, *shape)).encode())
                self._send(stream.checked_frames(shape), sink)
            self._note(stream)
        if not self.episodes:
            raise DataError("a shard needs at least one episode.")

    def _send(self, chunks: Iterable[np.ndarray], sink: Callable[[np.ndarray], None]) -> int:
        """Sends frames on their way, and counts them."""
        count = 0
        for chunk in chunks:
            if not self.info.stores_video:  # else the hash of the mp4 stands for the frames
                self.digest.update(np.ascontiguousarray(chunk).data)
            self.pixels.add(chunk)
            sink(chunk)
            count += len(chunk)
        return count

    def _note(self, stream: EpisodeStream) -> None:
        """Keeps what is not a frame."""
        for array in (
            stream.actions,
            stream.rewards,
            stream.terminated,
            stream.truncated,
            stream.state,
            stream.labels,
        ):
            if array is not None:
                self.digest.update(str(array.shape).encode())
                self.digest.update(array.tobytes())
        if stream.labels is not None:
            self.images["observation.labels"] += [encode_png(mask) for mask in stream.labels]
        self.episodes.append(replace(stream, frames=(), labels=None))

    def keep_images(self, frames: np.ndarray) -> None:
        """A sink for frames that are stored as images."""
        self.images[IMAGE_KEY] += [encode_png(frame) for frame in frames]


def renumber_shard(
    source: Path, target: Path, info: DatasetInfo, *, first_episode: int, first_index: int
) -> None:
    """Copies a shard, counting its episodes and frames in the data set from the given numbers.

    Raises:
        DataError: if ``source`` is damaged.
        StorageError: if ``target`` cannot be written.
    """
    summary = read_summary(source)
    table = read_table(source)
    if summary.episodes and (shift := first_episode - summary.episodes[0]["episode_index"]):
        for episode in summary.episodes:
            episode["episode_index"] += shift
        table = _set_column(table, "episode_index", table["episode_index"].to_numpy() + shift)
    with atomic_file(target) as temporary:
        _write_table(temporary, table, summary, info, first_index)


def shard_video(video: Path, summary: ShardSummary, info: DatasetInfo) -> ShardVideo | None:
    """The mp4 of a shard; None where frames are images.

    Raises:
        DataError: if the shard knows of no mp4, but should.
    """
    if not info.stores_video:
        return None
    try:
        recorded = summary.video or {}
        size, sha256 = int(recorded["size"]), str(recorded["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(video, f"its parquet file does not describe it ({error!r})") from error
    return ShardVideo(video, info.frame_shape, info.fps, summary.rows, size, sha256)


def read_summary(path: Path) -> ShardSummary:
    """Reads the footer of a shard.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        data = json.loads(metadata[b"nfd"])
        return ShardSummary(data["episodes"], data["stats"], data["digest"], data.get("video"))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Reads the rows of a shard.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        return pq.read_table(
            path,
            columns=columns,
            use_threads=False,
            partitioning=None,
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def decode_images(
    path: Path, column: pa.ChunkedArray, shape: tuple[int, ...], first_row: int = 0
) -> np.ndarray:
    """Decodes a column of PNGs, or a part from ``first_row`` on, into uint8 (rows, *shape).

    Raises:
        DataError: if one of them is damaged or has another size; names the file and the row.
    """
    images = np.empty((len(column), *shape), np.uint8)
    for row, data in enumerate(column.combine_chunks().field("bytes").to_pylist()):
        name = f"the image of row {first_row + row}"
        try:
            image = decode_image(data)
        except IMAGE_ERRORS as error:
            raise _damaged(path, f"{name} cannot be decoded ({error})") from error
        if image.shape != shape or image.dtype != np.uint8:
            raise _damaged(path, f"{name} has shape {image.shape}, not {shape}")
        images[row] = image
    return images


def _damaged(path: Path, why: object) -> DataError:
    return DataError(
        f"{path} is damaged: {why}. Delete this file and run the command that recorded it again; "
        "the episodes in it will be recorded anew."
    )


def _write_table(
    path: Path, table: pa.Table, summary: ShardSummary, info: DatasetInfo, first_index: int
) -> None:
    table = _set_column(table, "index", np.arange(first_index, first_index + table.num_rows))
    features = {name: hugging_face_type(f) for name, f in info.columns().items()}
    footer = {"episodes": summary.episodes, "stats": summary.stats, "digest": summary.digest}
    if summary.video is not None:
        footer["video"] = summary.video
    table = table.replace_schema_metadata(
        {
            "huggingface": json.dumps({"info": {"features": features}}),
            "nfd": json.dumps(footer, sort_keys=True),
        }
    )
    # No two images are equal, and their order means nothing.
    numbers = [field.name for field in table.schema if field.type != IMAGE_TYPE]
    pq.write_table(
        table,
        path,
        row_group_size=1024,
        use_dictionary=numbers,
        write_statistics=numbers,
        write_page_checksum=True,
    )


def _set_column(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))
