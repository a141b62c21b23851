"""Hugging Face data sets: rows with an image and an action, or with a video and its actions.

A folder of parquet files, or a data set of the Hub, streamed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.data.importing.cells import CellError, decode_picture
from world_model.data.importing.findings import Findings, RecordingCounts
from world_model.data.importing.paths import find_files
from world_model.data.importing.recordings import ImportFormat, Plan, Recording, RecordingError
from world_model.data.importing.steps import Step
from world_model.data.importing.vectors import NOT_FINITE, encoded, spec_of_columns
from world_model.data.importing.video import DAMAGED, open_video
from world_model.data.metadata import DatasetInfo
from world_model.data.resizing import resize_picture
from world_model.errors import DataError

EPISODE_COLUMNS = ("episode_index", "episode_id", "episode")
WRONG_IMAGE = "rows without a readable image"
UNREADABLE = "the file cannot be read"
WRONG_VIDEO = "videos without an action for each frame"


@dataclass(frozen=True)
class HuggingFace(ImportFormat):
    """Imports Hugging Face data sets: parquet files with images and actions.

    SOURCE is a folder, or NAME/DATA_SET on the Hub. The rows of an episode must follow each other,
    within one file of a folder.
    """

    takes_recorded_size: ClassVar[bool] = True

    size: tuple[int, int] = (0, 0)
    """Height and width of the frames, averaged over areas (default, 0 0: of the first)."""
    image_column: str = "image"
    """Column of images."""
    video_column: str | None = None
    """Column of videos, instead: each row then is an episode, with a list of actions."""
    action_column: str = "action"
    """Column of actions: whole numbers or texts (choices), numbers, or lists of numbers."""
    reward_column: str | None = None
    """Column of rewards."""
    done_column: str | None = None
    """Column that says whether an episode ended with a row's action."""
    episode_column: str | None = None
    """Column that tells episodes apart (default: episode_index, episode_id or episode)."""
    split: str = "train"
    """Split of a data set of the Hub."""
    fps: float = 20.0
    """Frames per second."""

    def settings(self) -> dict[str, Any]:
        """What decides the content, beyond size and length."""
        names = ("image", "video", "action", "reward", "done", "episode")
        columns = {name: getattr(self, f"{name}_column") for name in names}
        return {**columns, "split": self.split, "fps": self.fps}

    def check(self) -> None:
        """Raises DataError for settings out of range."""
        if not self.source.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", self.source.as_posix()):
            return
        super().check()

    def plan(self) -> Plan:
        """Looks at the columns and reads all actions."""
        findings = Findings()
        recordings = []
        if self.source.is_dir():
            for path in find_files(self.source, ".parquet", findings):
                name = path.relative_to(self.source).with_suffix("").as_posix()
                recordings.append(Recording(name, path, path, share=path.stat().st_size))
            if not recordings:
                raise DataError(f"{self.source} has no parquet files.")
        else:
            hub = self.source.as_posix()
            recordings.append(Recording(hub, self.source, self.source, share=0))
        first = self._check_columns(recordings[0])
        actions: list[Any] = []
        for recording in recordings:
            try:
                for row in self._rows(recording).select_columns([self.action_column]):
                    cell = row[self.action_column]
                    actions += cell if self.video_column else [cell]
            except RecordingError:
                continue  # to be reported when it is read
        size = self.size if any(self.size) else self._size_of(first)
        info = DatasetInfo(
            action_spec=_spec(actions),
            frame_shape=(*size, 3),
            fps=self.fps,
            source={"name": self.source.name, "format": "huggingface"},
        )
        return Plan(tuple(recordings), info, findings)

    def read(self, recording: Recording, info: DatasetInfo, findings: Findings) -> Iterator[Step]:
        """The rows of a file, of as many episodes as it has."""
        counts = RecordingCounts()
        steps = self._clips if self.video_column else self._frames
        try:
            yield from steps(recording, info, counts)
        finally:
            counts.tell(findings, recording.name)

    def _frames(
        self, recording: Recording, info: DatasetInfo, counts: RecordingCounts
    ) -> Iterator[Step]:
        rows = self._rows(recording)
        key = self._episode_key(rows)
        held: dict[str, Any] | None = None
        episode: Any = None
        for index, row in enumerate(rows):
            try:
                frame = decode_picture(row[self.image_column], None)
            except CellError:
                counts.add("dropped", WRONG_IMAGE)
                frame = None
            if held is not None:
                same = key is None or row[key] == episode
                follows = frame is not None and same and not held["terminated"]
                yield Step(**held, ends=not follows and held["action"] is not None)
            if frame is None:
                held = None
                continue
            episode = row[key] if key is not None else None
            action, reward = self._action(row, info.action_spec, counts)
            done = self.done_column is not None and bool(row[self.done_column])
            held = {
                "index": index,
                "frame": resize_picture(frame, info.frame_shape[:2]),
                "action": action,
                "reward": reward,
                "terminated": done,
            }
        if held is not None:
            yield Step(**held, ends=held["action"] is not None)

    def _clips(
        self, recording: Recording, info: DatasetInfo, counts: RecordingCounts
    ) -> Iterator[Step]:
        assert self.video_column is not None
        first = 0
        for row in self._rows(recording):
            actions = row[self.action_column] or []
            rewards = row[self.reward_column] if self.reward_column else [0.0] * len(actions)
            held: dict[str, Any] | None = None
            with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
                try:
                    file.write(_bytes(row[self.video_column]))
                    file.flush()
                    with open_video(Path(file.name)) as video:
                        if video.declared not in (len(actions), len(actions) + 1):
                            raise RecordingError(WRONG_VIDEO)
                        for t, frame in enumerate(video.frames()):
                            if held is not None:
                                yield Step(**held)
                            small = resize_picture(frame, info.frame_shape[:2])
                            held = {"index": first + t, "frame": small, "action": None}
                            if t < len(actions):
                                cells = {
                                    self.action_column: actions[t],
                                    self.reward_column: rewards[t],
                                }
                                action, reward = self._action(cells, info.action_spec, counts)
                                held |= {"action": action, "reward": reward}
                except (RecordingError, CellError) as error:
                    counts.add("dropped", getattr(error, "reason", DAMAGED))
            if held is not None:
                # The next row is another episode, wherever this one ended.
                yield Step(**held, ends=held["action"] is not None)
                first = held["index"] + 1

    def _action(
        self, row: dict[Any, Any], spec: ActionSpec, counts: RecordingCounts
    ) -> tuple[np.ndarray | None, float]:
        cell = row[self.action_column]
        reward = row[self.reward_column] if self.reward_column else 0.0
        try:
            if isinstance(cell, str):
                cell = spec.groups[0].labels.index(cell)
            vector = encoded(np.asarray(cell, np.float64).reshape(1, spec.dim), spec)[0]
            reward = float(reward)
            known = bool(np.isfinite(vector).all() and np.isfinite(reward))
        except (ValueError, TypeError):
            known = False
        if not known:
            counts.add("dropped", NOT_FINITE)
            return None, 0.0
        return vector, reward

    def _rows(self, recording: Recording) -> Any:
        """The rows as ``datasets`` streams them, images and videos undecoded."""
        from datasets import Image, Video, load_dataset

        try:
            if recording.video.is_file():
                rows = load_dataset(
                    "parquet",
                    data_files={"train": [str(recording.video)]},
                    split="train",
                    streaming=True,
                )
            else:
                rows = load_dataset(recording.name, split=self.split, streaming=True)
            if rows.features is None:
                rows = rows._resolve_features()
            for name, feature in (rows.features or {}).items():
                if isinstance(feature, Image | Video):
                    rows = rows.cast_column(name, type(feature)(decode=False))
        except Exception as error:  # whatever the library, the network or the file raise
            raise RecordingError(UNREADABLE, str(error).strip().splitlines()[0][:200]) from error
        return rows

    def _check_columns(self, recording: Recording) -> dict[str, Any]:
        """The first row.

        Raises:
            DataError: if a column is missing; lists those that there are.
        """
        rows = self._rows(recording)
        present = list(rows.features or {})
        wanted = {
            "--video-column" if self.video_column else "--image-column": (
                self.video_column or self.image_column
            ),
            "--action-column": self.action_column,
            "--reward-column": self.reward_column,
            "--done-column": self.done_column,
            "--episode-column": self.episode_column,
        }
        for option, name in wanted.items():
            if name is not None and name not in present:
                raise DataError(
                    f"{recording.name} has no column {name!r} ({option}); there is: "
                    f"{', '.join(present)}."
                )
        first = next(iter(rows), None)
        if first is None:
            raise DataError(f"{recording.name} has no rows.")
        return dict(first)

    def _episode_key(self, rows: Any) -> str | None:
        if self.episode_column is not None:
            return self.episode_column
        return next((name for name in EPISODE_COLUMNS if name in rows.features), None)

    def _size_of(self, row: dict[str, Any]) -> tuple[int, int]:
        try:
            if self.video_column is None:
                frame = decode_picture(row[self.image_column], None)
            else:
                with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
                    file.write(_bytes(row[self.video_column]))
                    file.flush()
                    with open_video(Path(file.name)) as video:
                        frame = next(video.frames())
        except (CellError, RecordingError, StopIteration) as error:
            raise DataError(f"the first row of {self.source} has no picture: {error}.") from None
        return frame.shape[0], frame.shape[1]


def _bytes(cell: Any) -> bytes:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise CellError("there is no video")
    return data


def _spec(actions: list[Any]) -> ActionSpec:
    if actions and all(isinstance(action, str) for action in actions):
        names = sorted(set(actions))
        return ActionSpec.from_space(spaces.Discrete(len(names)), names=names)
    try:
        array = np.array(actions)
        return spec_of_columns(array.reshape(len(array), -1))
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the actions are no numbers, or lists of equal length: {error}.") from None
