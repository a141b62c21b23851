"""What is true of a whole data set: ``meta/info.json`` and the columns of its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from world_model.action_spec import ActionSpec
from world_model.data.video_writing import video_features
from world_model.errors import ActionError, DataError
from world_model.minecraft.formats import understood

CODEBASE_VERSION = "v3.0"
FORMAT_VERSION = 1
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
IMAGE_KEY = "observation.image"
INFO_PATH = "meta/info.json"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
TASKS_PATH = "meta/tasks.parquet"
STATS_PATH = "meta/stats.json"
FILES_PER_CHUNK = 1000
PREVIOUS_ACTION = "previous_action"
"""Entry of an episode's info: the recorded action that led to its first frame, as a JSON list."""
LARGEST_IMAGE = 128
"""Frames with a longer side than this are stored as video, unless their data set says otherwise."""
Storage = Literal["auto", "image", "video"]


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a data set, the same for each of its episodes."""

    action_spec: ActionSpec
    """The actions."""
    frame_shape: tuple[int, int, int]
    """Height, width and channels (3) of a frame."""
    fps: float
    """Frames per second."""
    state_names: tuple[str, ...] = ()
    """Names of the columns of ``observation.state``."""
    label_classes: dict[int, str] = field(default_factory=dict)
    """Name of every class in ``observation.labels``; empty: no labels were recorded."""
    source: dict[str, Any] = field(default_factory=dict)
    """Source environment, its preprocessing, the meaning of its reward."""
    task: str = "play"
    """What the players tried to do, in words."""
    storage: Storage = "auto"
    """How frames are stored: lossless as ``image``, small as ``video`` (H.264, whose sides must be
    even); ``auto`` takes images up to 128 pixels on the longer side, and video above."""

    def __post_init__(self) -> None:
        height, width, _ = self.frame_shape
        if self.storage not in ("auto", "image", "video"):
            raise DataError(f"storage={self.storage!r}: expected auto, image or video.")
        if self.storage == "video" and (height % 2 or width % 2):
            raise DataError(
                f"frames of {width}x{height} pixels cannot be stored as video: H.264 needs even "
                "sides. Crop or pad them by a pixel, or give storage='image'."
            )

    @property
    def stores_video(self) -> bool:
        """Whether frames are stored as video, not as images."""
        height, width, _ = self.frame_shape
        large, even = max(height, width) > LARGEST_IMAGE, not (height % 2 or width % 2)
        return self.storage == "video" or (self.storage == "auto" and large and even)

    @property
    def has_labels(self) -> bool:
        """Whether the data set has a mask of object classes for every frame."""
        return bool(self.label_classes)

    def features(self) -> dict[str, dict[str, Any]]:
        """The columns as LeRobot describes them: dtype, shape and names."""
        height, width, _ = self.frame_shape
        spec = self.action_spec
        if len(spec.groups) == 1:
            action_names = [spec.groups[0].name] * spec.dim
        else:
            action_names = [group.name for group in spec.groups for _ in range(group.columns)]
        image = {"dtype": "image", "names": ["height", "width", "channels"]}
        features: dict[str, dict[str, Any]] = {
            IMAGE_KEY: {**image, "shape": list(self.frame_shape)},
            "action": {"dtype": "float32", "shape": [spec.dim], "names": action_names},
            "next.reward": _scalar("float32"),
            "next.terminated": _scalar("bool"),
            "next.truncated": _scalar("bool"),
            "next.frame_missing": _scalar("bool"),
            "is_last": _scalar("bool"),
        }
        if self.stores_video:
            details = video_features(self.frame_shape, self.fps)
            features[IMAGE_KEY] |= {"dtype": "video", "info": details}
        if self.state_names:
            features["observation.state"] = {
                "dtype": "float32",
                "shape": [len(self.state_names)],
                "names": list(self.state_names),
            }
        if self.has_labels:
            features["observation.labels"] = {**image, "shape": [height, width, 1]}
        features["timestamp"] = _scalar("float32")
        for name in ("frame_index", "episode_index", "index", "task_index"):
            features[name] = _scalar("int64")
        return features

    def columns(self) -> dict[str, dict[str, Any]]:
        """The features that are columns of the parquet files: all but videos."""
        return {name: f for name, f in self.features().items() if f["dtype"] != "video"}

    def to_dict(self) -> dict[str, Any]:
        """The ``nfd`` block of info.json, read back by :meth:`from_dict`."""
        return {
            "format_version": FORMAT_VERSION,
            "action_spec": self.action_spec.to_dict(),
            "action_alignment": "action[t] takes frame t to frame t + 1; unused on the last row "
            "unless next.frame_missing",
            "frame_shape": list(self.frame_shape),
            "fps": self.fps,
            "state_names": list(self.state_names),
            "label_classes": {str(index): name for index, name in self.label_classes.items()},
            "source": self.source,
            "task": self.task,
            **({"storage": "video"} if self.stores_video else {}),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str) -> DatasetInfo:
        """Rebuilds the description.

        Raises:
            DataError: if it is damaged or of a newer format version.
        """
        try:
            version = data["format_version"]
            if version != FORMAT_VERSION:
                raise DataError(
                    f"{where} has format version {version}; this release reads version "
                    f"{FORMAT_VERSION}. Update nfd-world."
                )
            height, width, channels = (int(n) for n in data["frame_shape"])
            return cls(
                action_spec=understood(ActionSpec.from_dict(data["action_spec"])),
                frame_shape=(height, width, channels),
                fps=float(data["fps"]),
                state_names=tuple(data["state_names"]),
                label_classes={int(k): str(v) for k, v in data["label_classes"].items()},
                source=dict(data["source"]),
                task=str(data["task"]),
                storage=data.get("storage", "image"),
            )
        except (KeyError, TypeError, AttributeError, ActionError) as error:
            raise DataError(f"{where} is damaged: {error!r}. Record the data set again.") from error


def read_info(root: Path) -> dict[str, Any]:
    """The content of ``meta/info.json``.

    Raises:
        DataError: if it is missing (no data set, or recording has not finished) or damaged.
    """
    path = root / INFO_PATH
    try:
        info = json.loads(path.read_text())
        if not isinstance(info, dict) or not isinstance(info.get("nfd"), dict):
            raise ValueError("it has no 'nfd' block")
    except FileNotFoundError:
        hint = (
            "Its recording has not finished: run the same 'nfd collect' again to go on."
            if (root / "data").is_dir()
            else "Record one with 'nfd collect'."
        )
        raise DataError(f"{root} is no data set: {INFO_PATH} is missing. {hint}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}. Record the data set again.") from error
    return info


def data_path(root: Path, shard: int) -> Path:
    """Path of the ``shard``-th parquet file of frames."""
    chunk, file = divmod(shard, FILES_PER_CHUNK)
    return root / DATA_PATH.format(chunk_index=chunk, file_index=file)


def video_path(root: Path, shard: int) -> Path:
    """Path of the ``shard``-th video of frames."""
    chunk, file = divmod(shard, FILES_PER_CHUNK)
    return root / VIDEO_PATH.format(video_key=IMAGE_KEY, chunk_index=chunk, file_index=file)


def _scalar(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}
