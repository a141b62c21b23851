"""LeRobotDataset v2.1 and v3.0, and so the data sets of this project too.

Row t has frame t and the action that was taken at it. Elsewhere the last row has an action like all
others, whose result nobody sees; in data sets of this project ``next.frame_missing`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.importing.cells import CellError, decode_picture, numbers
from world_model.data.importing.findings import Findings
from world_model.data.importing.lerobot_layout import Layout, LeRobotEpisode, read_layout
from world_model.data.importing.recordings import (
    ImportFormat,
    Plan,
    Recording,
    RecordingError,
    unique,
)
from world_model.data.importing.steps import Step
from world_model.data.importing.vectors import NOT_FINITE, encoded, spec_of_columns
from world_model.data.importing.video import DAMAGED, VideoDamaged, open_video
from world_model.data.metadata import INFO_PATH, DatasetInfo
from world_model.data.resizing import resize_picture
from world_model.errors import DataError

WRONG_ROWS = "the rows of the episode cannot be read"
WRONG_COUNT = "the episode has other rows than it should"
WRONG_IMAGE = "images that cannot be decoded"
SHORT = "frames that the video lacks at its end"
STATE = "observation.state"
LABELS = "observation.labels"


@dataclass(frozen=True)
class LeRobot(ImportFormat):
    """Imports LeRobotDataset v2.0, v2.1 and v3.0, with frames in mp4 or parquet files."""

    takes_recorded_size: ClassVar[bool] = True

    size: tuple[int, int] = (0, 0)
    """Height and width of the frames, averaged over areas (default, 0 0: as recorded)."""
    camera: str | None = None
    """Column of the frames, such as observation.images.top (default: the only one)."""

    def settings(self) -> dict[str, Any]:
        """The camera decides the content too."""
        return {"camera": self.camera}

    def plan(self) -> Plan:
        """Reads the descriptions of the episodes, and the actions, for their range."""
        layout, findings = read_layout(self.source), Findings()
        camera = layout.camera(self.camera)
        episodes = list(layout.episodes(camera, findings))
        if not episodes:
            reasons = "; ".join(row["reason"] for row in findings.rows("dropped"))
            raise DataError(f"{self.source} has no usable episodes: {reasons or 'it is empty'}.")
        own = layout.info.get("nfd") or layout.info.get("nfd_source")
        if isinstance(own, dict):
            info = DatasetInfo.from_dict(own, str(self.source / INFO_PATH))
            size = self.size if any(self.size) else info.frame_shape[:2]
            if size != info.frame_shape[:2]:
                # "auto": how they are stored is for their new size to say.
                info = replace(info, frame_shape=(*size, 3), storage="auto", label_classes={})
                episodes = [replace(episode, own=False) for episode in episodes]
            seed = int(own.get("split_seed", 0))
            return Plan(tuple(unique(episodes, findings)), info, findings, split_seed=seed)
        tasks = {episode.about.get("task", "") for episode in episodes}
        info = DatasetInfo(
            action_spec=self._action_spec(layout, episodes),
            frame_shape=(*self._frame_size(layout, camera), 3),
            fps=float(layout.info["fps"]),
            state_names=_state_names(layout),
            source={
                "name": self.source.resolve().name,
                "format": f"lerobot {layout.info['codebase_version']}",
                "robot": str(layout.info.get("robot_type") or "unknown"),
                "camera": camera,
            },
            task=tasks.pop() or "play" if len(tasks) == 1 else "play",
        )
        return Plan(tuple(unique(episodes, findings)), info, findings)

    def read(self, recording: Recording, info: DatasetInfo, findings: Findings) -> Iterator[Step]:
        """The rows of one episode, as far as there are frames."""
        assert isinstance(recording, LeRobotEpisode)
        layout = read_layout(self.source)
        camera = layout.camera(self.camera)
        in_video = layout.features[camera]["dtype"] == "video"
        rows = _Rows(recording, layout, camera if not in_video else None, info)
        if not in_video:
            frames: Iterator[np.ndarray] = rows.pictures(self.source, findings)
            yield from _steps(recording, rows, frames, info, findings)
            return
        with open_video(recording.video) as video:
            pictures = video.frames(recording.start)
            yield from _steps(recording, rows, pictures, info, findings)

    def _frame_size(self, layout: Layout, camera: str) -> tuple[int, int]:
        if any(self.size):
            return self.size
        try:
            feature = layout.features[camera]
            shape = [int(n) for n in feature["shape"]]
            # Channels come last, or first, as the names say.
            first = next(iter(feature.get("names") or [""])) in ("channel", "channels")
            height, width = shape[1:3] if first or shape[0] in (1, 3) else shape[:2]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.source / INFO_PATH} does not say how large the frames of {camera} are "
                f"({error!r}). Give --size HEIGHT WIDTH."
            ) from None
        return height, width

    def _action_spec(self, layout: Layout, episodes: list[LeRobotEpisode]) -> Any:
        if "action" not in layout.features:
            raise DataError(
                f"{self.source} has no column action; there is: {', '.join(layout.features)}."
            )
        parts = []
        for path in dict.fromkeys(episode.actions for episode in episodes):
            try:
                column = pq.read_table(path, columns=["action"], partitioning=None).column(0)
                parts.append(numbers(column))
            except (pa.ArrowException, OSError, KeyError, ValueError):
                continue  # to be reported when the episode is read
        if not parts:
            raise DataError(f"no action could be read from any file of {self.source}.")
        return spec_of_columns(np.concatenate(parts), _names(layout.features["action"]))


class _Rows:
    """The rows of one episode, as arrays."""

    def __init__(
        self, episode: LeRobotEpisode, layout: Layout, images: str | None, info: DatasetInfo
    ) -> None:
        self.episode = episode
        optional = ("next.reward", "next.done", "next.terminated", "next.truncated")
        present = [name for name in (*optional, "next.frame_missing") if name in layout.features]
        wanted = ["frame_index", "action", *present]
        wanted += [STATE] if info.state_names else []
        wanted += [LABELS] if info.has_labels else []
        wanted += [images] if images else []
        try:
            table = pq.read_table(
                episode.actions,
                columns=wanted,
                filters=[("episode_index", "=", episode.index)],
                partitioning=None,
                use_threads=False,
            )
            columns = {n: table.column(n) for n in wanted}
            arrays = {n: numbers(c) for n, c in columns.items() if n not in (images, LABELS)}
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise RecordingError(WRONG_ROWS, str(error).splitlines()[0][:200]) from error
        count = table.num_rows
        if count != episode.length or (arrays["frame_index"][:, 0] != np.arange(count)).any():
            raise RecordingError(WRONG_COUNT, f"{count} rows, {episode.length} expected")
        if not count or arrays["action"].shape[1] != info.action_spec.dim:
            raise RecordingError(WRONG_ROWS, f"actions of shape {arrays['action'].shape}")
        self.actions = encoded(arrays["action"], info.action_spec)
        nothing = np.zeros((count, 1))
        self.rewards = arrays.get("next.reward", nothing)[:, 0]
        done = arrays.get("next.terminated", arrays.get("next.done", nothing))[:, 0] > 0.5
        self.terminated = done & ~(arrays.get("next.truncated", nothing)[:, 0] > 0.5)
        missing = arrays.get("next.frame_missing")
        self.ends = missing is None or bool(missing[-1, 0])
        """Whether the last action counts: it ended the episode without a frame."""
        self.state = arrays[STATE].astype(np.float32) if info.state_names else None
        self._pictures = columns[images].combine_chunks() if images else None
        self._labels = columns[LABELS].combine_chunks() if info.has_labels else None
        if self.state is not None and self.state.shape[1] != len(info.state_names):
            raise RecordingError(WRONG_ROWS, f"{STATE} of shape {self.state.shape}")

    @property
    def has_pictures(self) -> bool:
        """Whether the frames lie among the rows."""
        return self._pictures is not None

    def pictures(self, root: Any, findings: Findings) -> Iterator[np.ndarray]:
        """The frames, up to one that is damaged."""
        assert self._pictures is not None
        for row, cell in enumerate(self._pictures):
            try:
                yield decode_picture(cell.as_py(), root)
            except CellError as error:
                if row == 0:
                    raise RecordingError(WRONG_IMAGE, f"row 0: {error}") from error
                where = f"{self.episode.name} (row {row}: {error})"
                findings.dropped(WRONG_IMAGE, where, self.episode.length - row, "frames")
                return

    def labels(self, row: int, root: Any) -> np.ndarray | None:
        """The mask of a row, uint8 (H, W), where there are masks."""
        if self._labels is None:
            return None
        try:
            return decode_picture(self._labels[row].as_py(), root, colour=False)
        except CellError as error:
            raise RecordingError(WRONG_IMAGE, f"mask of row {row}: {error}") from error


def _steps(
    episode: LeRobotEpisode,
    rows: _Rows,
    frames: Iterator[np.ndarray],
    info: DatasetInfo,
    findings: Findings,
) -> Iterator[Step]:
    size = info.frame_shape[:2]
    last, seen, unknown = episode.length - 1, 0, 0
    try:
        for row, frame in zip(range(episode.length), frames, strict=False):
            seen = row + 1
            known = bool(np.isfinite(rows.actions[row]).all() and np.isfinite(rows.rewards[row]))
            acts = row < last or rows.ends
            unknown += acts and not known
            yield Step(
                row,
                resize_picture(frame, size),
                rows.actions[row] if acts and known else None,
                float(rows.rewards[row]),
                ends=row == last and rows.ends,
                terminated=bool(rows.terminated[row]),
                state=None if rows.state is None else rows.state[row],
                labels=rows.labels(row, None),
            )
    except VideoDamaged as damage:
        findings.dropped(DAMAGED, f"{episode.name} {damage.detail}", last + 1 - seen, "frames")
    else:
        if not rows.has_pictures:
            where = f"{episode.name} ({seen} of {last + 1})"
            findings.dropped(SHORT, where, last + 1 - seen, "frames")
    finally:
        findings.dropped(NOT_FINITE, episode.name, unknown, "frames")


def _names(feature: dict[str, Any]) -> list[str]:
    """The names of a vector's columns: a list, or lists by group."""
    names = feature.get("names")
    if isinstance(names, dict):
        lists = names.values()
        names = [n for part in lists for n in (part if isinstance(part, list) else [part])]
    return [str(name) for name in names] if isinstance(names, list) else []


def _state_names(layout: Layout) -> tuple[str, ...]:
    feature = layout.features.get(STATE)
    if feature is None or not str(feature.get("dtype")).startswith("float"):
        return ()
    shape = feature.get("shape") or []
    if len(shape) != 1 or not isinstance(shape[0], int):
        return ()
    names = _names(feature)
    unique_names = len(set(names)) == len(names) == shape[0]
    return tuple(names) if unique_names else tuple(f"state.{i}" for i in range(shape[0]))
