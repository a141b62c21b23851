"""The columns of a data set's rows: episodes as Arrow arrays, their types, their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from world_model.data.images import IMAGE_TYPE
from world_model.data.metadata import DatasetInfo
from world_model.data.streams import EpisodeStream
from world_model.errors import DataError
from world_model.types import Episode


def check_episode(episode: Episode | EpisodeStream, info: DatasetInfo) -> None:
    """Raises DataError unless ``episode`` is whole and fits the data set.

    The frames of a stream are checked as they come, see :meth:`EpisodeStream.checked_frames`.
    """
    if isinstance(episode, EpisodeStream):
        frames, shape, dtype = episode.num_frames, info.frame_shape, np.dtype(np.uint8)
    else:
        frames, shape, dtype = len(episode.frames), episode.frames.shape[1:], episode.frames.dtype
    transitions = len(episode.actions)
    height, width, _ = info.frame_shape
    problems = {
        f"frames {dtype}{(frames, *shape)}, expected uint8 (N, "
        f"{', '.join(map(str, info.frame_shape))}) with N > 0": frames <= 0
        or shape != info.frame_shape
        or dtype != np.uint8,
        f"{transitions} actions for {frames} frames, expected N - 1 or N": transitions
        not in (frames - 1, frames),
        f"actions of shape {episode.actions.shape}, expected (A, {info.action_spec.dim})": (
            episode.actions.shape[1:] != (info.action_spec.dim,)
        ),
        "rewards, terminated and truncated must be as long as actions": not (
            len(episode.rewards) == len(episode.terminated) == len(episode.truncated) == transitions
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


def arrow_schema(info: DatasetInfo) -> pa.Schema:
    """Types of the columns."""
    columns = info.columns()
    return pa.schema([(name, _arrow_type(feature)) for name, feature in columns.items()])


def _arrow_type(feature: dict[str, Any]) -> pa.DataType:
    if feature["dtype"] == "image":
        return IMAGE_TYPE
    scalar = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}[feature["dtype"]]
    size = feature["shape"][0]
    # LeRobot stores vectors of length one as plain numbers.
    return scalar if size == 1 else pa.list_(scalar, size)


def hugging_face_type(feature: dict[str, Any]) -> dict[str, Any]:
    """The type of a column as ``datasets`` writes it."""
    if feature["dtype"] == "image":
        return {"_type": "Image"}
    value = {"dtype": feature["dtype"], "_type": "Value"}
    size = feature["shape"][0]
    return value if size == 1 else {"feature": value, "length": size, "_type": "List"}


def arrow_columns(
    episodes: Sequence[EpisodeStream],
    images: Mapping[str, list[bytes]],
    info: DatasetInfo,
    first_episode: int,
) -> dict[str, pa.Array]:
    """One row per frame of ``episodes``, which are numbered from ``first_episode``.

    Args:
        episodes: their numbers are taken, their frames are not asked for.
        images: PNGs of the columns of images, one per row.
        info: description of the data set.
        first_episode: number of the first of them.
    """
    values: dict[str, list[Any]] = {name: list(images.get(name, ())) for name in info.columns()}
    for i, episode in enumerate(episodes):
        rows, transitions = episode.num_frames, len(episode.actions)
        padded = np.zeros((rows, info.action_spec.dim), np.float32)
        padded[:transitions] = episode.actions
        missing, last = np.zeros(rows, bool), np.zeros(rows, bool)
        missing[-1], last[-1] = transitions == rows, True
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
        for name, feature in info.columns().items()
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
    padded: np.ndarray = np.zeros(rows, dtype)
    padded[: len(values)] = values
    return padded
