"""One parquet file of frames: a few whole episodes, frames as PNG bytes, read and written exactly.

Every row is a frame. The parquet schema carries the Hugging Face feature types, so that plain
``datasets`` decodes the images, and an ``nfd`` entry with what the meta files need later: the
episodes, running statistics, and a digest of the content.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.metadata import DatasetInfo
from world_model.errors import DataError
from world_model.storage import atomic_file
from world_model.types import Episode

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# Level 3 is within 1 % of the smallest file on game frames at three times the speed.
PNG_LEVEL = 3


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


def encode_png(array: np.ndarray) -> bytes:
    """uint8 (H, W, 3) or (H, W) as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """The uint8 array that :func:`encode_png` was given."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def check_episode(episode: Episode, info: DatasetInfo) -> None:
    """Raises DataError unless ``episode`` is whole and fits the data set."""
    frames, transitions = len(episode.frames), len(episode.actions)
    height, width, _ = info.frame_shape
    problems = {
        f"frames {episode.frames.dtype}{episode.frames.shape}, expected uint8 (N, "
        f"{', '.join(map(str, info.frame_shape))}) with N > 0": frames == 0
        or episode.frames.shape[1:] != info.frame_shape
        or episode.frames.dtype != np.uint8,
        f"{transitions} actions for {frames} frames, expected N - 1 or N": transitions
        not in (frames - 1, frames),
        f"actions of shape {episode.actions.shape}, expected (A, {info.action_spec.dim})": (
            episode.actions.shape[1:] != (info.action_spec.dim,)
        ),
        "rewards, terminated and truncated must be as long as actions": not (
            len(episode.rewards)
            == len(episode.terminated)
            == len(episode.truncated)
            == transitions
        ),
        "terminated and truncated may be set on the last transition only, never both": bool(
            (episode.terminated | episode.truncated)[:-1].any()
            or (episode.terminated & episode.truncated).any()
        ),
        f"state of shape {episode.state.shape}, expected (N, {len(info.state_names)})": (
            episode.state.shape != (frames, len(info.state_names))
        ),
        "labels must be uint8 (N, H, W) exactly where the data set has label classes": (
            episode.labels is not None
            and (episode.labels.shape != (frames, height, width) or not info.has_labels)
        )
        or (episode.labels is None and info.has_labels),
    }
    wrong = [text for text, bad in problems.items() if bad]
    if wrong:
        raise DataError(f"the episode does not fit the data set: {'; '.join(wrong)}.")


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
    columns = _columns(episodes, info, first_episode)
    table = pa.table(columns, schema=_schema(info))
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
        stats=_stats(episodes, info),
        digest=_digest(episodes),
    )
    _write_table(path, table, summary, info, first_index)
    return summary


def renumber_shard(source: Path, target: Path, info: DatasetInfo, *, first_index: int) -> None:
    """Copies a shard, counting its frames from ``first_index`` in the data set.

    Raises:
        DataError: if ``source`` is damaged.
        StorageError: if ``target`` cannot be written.
    """
    summary = read_summary(source)
    table = read_table(source)
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
        return pq.read_table(path, columns=columns, use_threads=False, partitioning=None)
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
        except (OSError, ValueError, TypeError, SyntaxError) as error:
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


def _schema(info: DatasetInfo) -> pa.Schema:
    features = info.features()
    return pa.schema([(name, _arrow_type(feature)) for name, feature in features.items()])


def _arrow_type(feature: dict[str, Any]) -> pa.DataType:
    if feature["dtype"] == "image":
        return IMAGE_TYPE
    scalar = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}[feature["dtype"]]
    size = feature["shape"][0]
    # LeRobot stores vectors of length one as plain numbers.
    return scalar if size == 1 else pa.list_(scalar, size)


def _hugging_face_type(feature: dict[str, Any]) -> dict[str, Any]:
    if feature["dtype"] == "image":
        return {"_type": "Image"}
    value = {"dtype": feature["dtype"], "_type": "Value"}
    size = feature["shape"][0]
    return value if size == 1 else {"feature": value, "length": size, "_type": "List"}


def _columns(
    episodes: Sequence[Episode], info: DatasetInfo, first_episode: int
) -> dict[str, pa.Array]:
    values: dict[str, list[Any]] = {name: [] for name in info.features()}
    for i, episode in enumerate(episodes):
        rows, transitions = len(episode.frames), len(episode.actions)
        padded = np.zeros((rows, info.action_spec.dim), np.float32)
        padded[:transitions] = episode.actions
        missing, last = np.zeros(rows, bool), np.zeros(rows, bool)
        missing[-1], last[-1] = transitions == rows, True
        values["observation.image"] += [encode_png(frame) for frame in episode.frames]
        if info.has_labels and episode.labels is not None:
            values["observation.labels"] += [encode_png(mask) for mask in episode.labels]
        if info.state_names:
            values["observation.state"].append(np.asarray(episode.state, np.float32))
        values["action"].append(padded)
        values["next.reward"].append(_pad(episode.rewards, rows, np.float32))
        values["next.terminated"].append(_pad(episode.terminated, rows, bool))
        values["next.truncated"].append(_pad(episode.truncated, rows, bool))
        values["next.frame_missing"].append(missing)
        values["is_last"].append(last)
        values["timestamp"].append(np.arange(rows, dtype=np.float32) / np.float32(info.fps))
        values["frame_index"].append(np.arange(rows))
        values["episode_index"].append(np.full(rows, first_episode + i))
        values["index"].append(np.zeros(rows, np.int64))  # set when the shard is placed
        values["task_index"].append(np.zeros(rows, np.int64))
    return {
        name: _to_arrow(values[name], _arrow_type(feature))
        for name, feature in info.features().items()
    }


def _to_arrow(parts: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == IMAGE_TYPE:
        paths = pa.nulls(len(parts), pa.string())
        return pa.StructArray.from_arrays([pa.array(parts, pa.binary()), paths], ["bytes", "path"])
    array = np.concatenate(parts)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(
            pa.array(array.ravel(), kind.value_type), kind.list_size
        )
    return pa.array(array.reshape(len(array)), kind)


def _pad(values: np.ndarray, rows: int, dtype: type) -> np.ndarray:
    padded = np.zeros(rows, dtype)
    padded[: len(values)] = values
    return padded


def _write_table(
    path: Path, table: pa.Table, summary: ShardSummary, info: DatasetInfo, first_index: int
) -> None:
    index = pa.array(np.arange(first_index, first_index + table.num_rows))
    table = table.set_column(table.schema.get_field_index("index"), "index", index)
    features = {name: _hugging_face_type(f) for name, f in info.features().items()}
    footer = {"episodes": summary.episodes, "stats": summary.stats, "digest": summary.digest}
    table = table.replace_schema_metadata(
        {
            "huggingface": json.dumps({"info": {"features": features}}),
            "nfd": json.dumps(footer, sort_keys=True),
        }
    )
    with atomic_file(path) as temporary:
        # PNGs do not compress any further, the numbers hardly matter.
        pq.write_table(table, temporary, compression="snappy", row_group_size=1024)


def _stats(episodes: Sequence[Episode], info: DatasetInfo) -> dict[str, dict[str, Any]]:
    """Running sums per column; images per channel, in the unit range, as LeRobot has them."""
    pixels = np.concatenate([e.frames.reshape(-1, 3) for e in episodes])
    arrays = {
        "action": np.concatenate([e.actions for e in episodes]),
        "next.reward": np.concatenate([e.rewards for e in episodes])[:, None],
    }
    if info.state_names:
        arrays["observation.state"] = np.concatenate([e.state for e in episodes])
    stats = {name: _moments(array.astype(np.float64)) for name, array in arrays.items()}
    # A histogram per channel gives exact moments without a float copy of every pixel.
    levels = np.arange(256) / 255.0
    counts = np.stack([np.bincount(pixels[:, c], minlength=256) for c in range(3)])
    stats["observation.image"] = {
        "min": [float(levels[np.flatnonzero(c)[0]]) for c in counts],
        "max": [float(levels[np.flatnonzero(c)[-1]]) for c in counts],
        "sum": (counts @ levels).tolist(),
        "squares": (counts @ levels**2).tolist(),
        "count": len(pixels),
    }
    return stats


def _moments(array: np.ndarray) -> dict[str, Any]:
    width = array.shape[1]
    empty = len(array) == 0
    return {
        "min": [0.0] * width if empty else array.min(axis=0).tolist(),
        "max": [0.0] * width if empty else array.max(axis=0).tolist(),
        "sum": array.sum(axis=0).tolist(),
        "squares": (array**2).sum(axis=0).tolist(),
        "count": len(array),
    }


def _digest(episodes: Sequence[Episode]) -> str:
    digest = hashlib.sha256()
    for episode in episodes:
        for array in (
            episode.frames,
            episode.actions,
            episode.rewards,
            episode.terminated,
            episode.truncated,
            episode.state,
            episode.labels,
        ):
            if array is not None:
                digest.update(str(array.shape).encode())
                digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
