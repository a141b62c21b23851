"""One parquet file of frames: a few whole episodes, frames as PNG bytes, read and written exactly.

Every row is a frame. The parquet schema carries the Hugging Face feature types, so that plain
``datasets`` decodes the images, and an ``nfd`` entry with what the meta files need later: the
episodes, running statistics, and a digest of the content.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.columns import (
    arrow_columns,
    arrow_schema,
    check_episode,
    content_digest,
    hugging_face_type,
)
from world_model.data.images import IMAGE_TYPE, PNG_ERRORS, decode_png
from world_model.data.metadata import DatasetInfo
from world_model.data.statistics import running_stats
from world_model.errors import DataError
from world_model.storage import atomic_file
from world_model.types import Episode


@dataclass(frozen=True)
class ShardSummary:
    """What the footer of a shard says about its episodes."""

    episodes: list[dict[str, Any]]
    """``episode_index``, ``length``, ``return`` and the episode's info, in order."""
    stats: dict[str, dict[str, Any]]
    """Per column: min, max, sum, sum of squares (lists over channels) and count."""
    digest: str
    """SHA-256 of all rows."""

    @property
    def rows(self) -> int:
        """Number of frames."""
        return sum(episode["length"] for episode in self.episodes)


def write_shard(
    path: Path,
    episodes: Sequence[Episode],
    info: DatasetInfo,
    *,
    first_episode: int,
    first_index: int,
) -> ShardSummary:
    """Writes ``episodes`` to one parquet file, whole or not at all.

    Args:
        path: the file.
        episodes: whole episodes.
        info: description of the data set.
        first_episode: number of the first of the episodes in the data set.
        first_index: number of its first frame in the data set.

    Raises:
        DataError: if an episode does not fit ``info``.
        StorageError: if the file cannot be written.
    """
    for episode in episodes:
        check_episode(episode, info)
    columns = arrow_columns(episodes, info, first_episode)
    table = pa.table(columns, schema=arrow_schema(info))
    summary = ShardSummary(
        episodes=[
            {
                "episode_index": first_episode + i,
                "length": len(episode.frames),
                "return": float(episode.rewards.sum(dtype=np.float64)),
                "info": dict(episode.info),
            }
            for i, episode in enumerate(episodes)
        ],
        stats=running_stats(episodes, info),
        digest=content_digest(episodes),
    )
    _write_table(path, table, summary, info, first_index)
    return summary


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
    _write_table(target, table, summary, info, first_index)


def read_summary(path: Path) -> ShardSummary:
    """Reads the footer of a shard.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        data = json.loads(metadata[b"nfd"])
        return ShardSummary(data["episodes"], data["stats"], data["digest"])
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


def decode_images(path: Path, column: pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    """Decodes a column of PNGs into uint8 (rows, *shape).

    Raises:
        DataError: if one of them is damaged or has another size; names the file and the row.
    """
    images = np.empty((len(column), *shape), np.uint8)
    for row, data in enumerate(column.combine_chunks().field("bytes").to_pylist()):
        try:
            image = decode_png(data)
        except PNG_ERRORS as error:
            raise _damaged(path, f"the image of row {row} cannot be decoded ({error})") from error
        if image.shape != shape or image.dtype != np.uint8:
            raise _damaged(path, f"the image of row {row} has shape {image.shape}, not {shape}")
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
    features = {name: hugging_face_type(f) for name, f in info.features().items()}
    footer = {"episodes": summary.episodes, "stats": summary.stats, "digest": summary.digest}
    table = table.replace_schema_metadata(
        {
            "huggingface": json.dumps({"info": {"features": features}}),
            "nfd": json.dumps(footer, sort_keys=True),
        }
    )
    # No two images are equal, and their order means nothing.
    numbers = [field.name for field in table.schema if field.type != IMAGE_TYPE]
    with atomic_file(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=1024,
            use_dictionary=numbers,
            write_statistics=numbers,
            write_page_checksum=True,
        )


def _set_column(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))
