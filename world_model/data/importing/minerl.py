"""MineRL 0.3 and 0.4: a folder for each stream, with its video and its arrays.

N rewards and actions lie between N + 1 states. The video may begin before the first state, and its
last frame is not to be trusted: MineRL's own loader puts the one before in its place. Here the last
action is one without a frame.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from world_model.data.importing.arrays import array_names, read_arrays
from world_model.data.importing.findings import Findings, RecordingCounts
from world_model.data.importing.minerl_actions import (
    NOT_FINITE,
    PREFIX,
    MineRLActions,
    action_spec,
    unknown_columns,
)
from world_model.data.importing.paths import OUTSIDE, find_files, inside
from world_model.data.importing.recordings import (
    ImportFormat,
    Plan,
    Recording,
    RecordingError,
    unique,
)
from world_model.data.importing.steps import Step
from world_model.data.importing.video import DAMAGED, Video, VideoDamaged, open_video
from world_model.data.metadata import DatasetInfo
from world_model.data.resizing import resize_picture

FPS = 20.0
NO_VIDEO = "there is a rendered.npz, but no recording.mp4 beside it"
NO_REWARDS = "there are no rewards"
NO_METADATA = "metadata.json is missing or damaged: frames are counted in the video"
MISMATCH = "the video has fewer frames than there are states"
LEADING = "frames before the first state"
SHORT = "frames that the video lacks at its end"
UNKNOWN_COLUMN = "columns of actions that are not Minecraft's usual ones"
OTHER_TOTAL = "total_reward of metadata.json is not the sum of the rewards"
OTHER_COUNT = "true_video_frame_count of metadata.json is not what the video itself says"
JSONL = "jsonl recordings, which 'nfd import basalt' takes"


@dataclass(frozen=True)
class MineRL(ImportFormat):
    """Imports MineRL 0.3 and 0.4: folders with recording.mp4, rendered.npz and metadata.json.

    SOURCE is a stream, a task with its streams, or a folder of tasks.
    """

    def plan(self) -> Plan:
        """Looks through the folder; the actions are those that any recording has."""
        findings = Findings()
        root = self.source if self.source.is_dir() else self.source.parent
        recordings, names = [], set()
        for arrays in find_files(root, "rendered.npz", findings):
            recording = _recording(root, arrays, findings)
            if recording is None:
                continue
            recordings.append(recording)
            with suppress(RecordingError):  # to be reported when it is read
                names |= {n.removeprefix(PREFIX) for n in array_names(arrays) if PREFIX in n}
        if not recordings:
            for path in find_files(root, ".jsonl", findings):
                findings.dropped(JSONL, path.relative_to(root).as_posix())
        for name in unknown_columns(names):
            findings.dropped(UNKNOWN_COLUMN, PREFIX + name, 1, "columns")
        info = DatasetInfo(
            action_spec=action_spec(names),
            frame_shape=(*self.size, 3),
            fps=FPS,
            source={
                "preset": "minecraft-minerl",
                "environment": "Minecraft",
                "format": "minerl",
                "camera": "degrees (pitch, yaw), not rounded",
                "reward": "as recorded, that of the MineRL task",
            },
        )
        return Plan(tuple(unique(recordings, findings)), info, findings)

    def read(self, recording: Recording, info: DatasetInfo, findings: Findings) -> Iterator[Step]:
        """The states up to the last action, whose own frame is missing."""
        name = recording.name
        arrays = read_arrays(recording.actions, lambda n: n.startswith(PREFIX) or n == "reward")
        rewards = _rewards(arrays)
        steps = len(rewards)
        actions = MineRLActions(arrays, steps, info.action_spec)
        metadata = _read_metadata(recording.actions.with_name("metadata.json"))
        if not metadata:
            findings.repaired(NO_METADATA, name, 1, "recordings")
        total = metadata.get("total_reward")
        if isinstance(total, int | float) and not math.isclose(
            total, float(np.nansum(rewards)), rel_tol=1e-3, abs_tol=1e-3
        ):
            findings.noted(
                OTHER_TOTAL, f"{name} ({total}, {np.nansum(rewards):g})", 1, "recordings"
            )
        counts = RecordingCounts()
        with open_video(recording.video) as video:
            count = metadata.get("true_video_frame_count")
            if not isinstance(count, int) or isinstance(count, bool):
                count = video.declared
            elif count != video.declared:
                where = f"{name} ({count}, {video.declared})"
                findings.noted(OTHER_COUNT, where, 1, "recordings")
            leading = count - (steps + 1)
            if leading < 0:
                raise RecordingError(MISMATCH, f"{count} frames, {steps + 1} states")
            findings.noted(LEADING, name, leading)
            terminated = metadata.get("success") is True
            seen = 0
            try:
                for step, frame in _states(video, leading, steps):
                    seen = step + 1
                    action = actions.at(step, counts)
                    if action is not None and not np.isfinite(rewards[step]):
                        counts.add("dropped", NOT_FINITE)
                        action = None
                    yield Step(
                        leading + step,
                        resize_picture(frame, self.size),
                        action,
                        float(rewards[step]),
                        ends=seen == steps,
                        terminated=terminated and seen == steps,
                    )
            except VideoDamaged as damage:
                findings.dropped(DAMAGED, f"{name} {damage.detail}", steps - seen, "frames")
            else:
                findings.dropped(SHORT, f"{name} ({seen} of {steps})", steps - seen, "frames")
            finally:
                counts.tell(findings, name)


def _states(video: Video, leading: int, steps: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number and frame of every state in which the player acted."""
    for number, frame in enumerate(video.frames()):
        if number >= leading:
            yield number - leading, frame
        if number == leading + steps - 1:
            return


def _rewards(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """float64 (N,)."""
    rewards = arrays.get("reward")
    if rewards is None or not rewards.size:
        raise RecordingError(NO_REWARDS)
    if rewards.ndim != 1 or rewards.dtype.kind not in "biuf":
        raise RecordingError(NO_REWARDS, f"they are {rewards.dtype} of shape {rewards.shape}")
    return rewards.astype(np.float64)


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _recording(root: Path, arrays: Path, findings: Findings) -> Recording | None:
    folder = arrays.parent.relative_to(root)
    name = folder.as_posix() if folder.parts else arrays.parent.resolve().name
    video = arrays.with_name("recording.mp4")
    if not video.is_file():
        findings.dropped(NO_VIDEO, name)
        return None
    for path in (video, arrays.with_name("metadata.json")):
        if inside(root, path.relative_to(root).as_posix()) is None:
            findings.dropped(OUTSIDE, name)
            return None
    about = {"policy": "human", "task": arrays.parent.resolve().parent.name}
    return Recording(name, video, arrays, about)
