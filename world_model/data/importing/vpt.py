"""OpenAI's VPT contractor recordings, and BASALT / MineRL 1.0, which come in the same files.

A recording is an mp4 (640x360 at 20 Hz) and a jsonl file with one line for every frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from world_model.data.importing.cursor import draw_cursor
from world_model.data.importing.findings import Findings, RecordingCounts
from world_model.data.importing.paths import OUTSIDE, find_files, inside
from world_model.data.importing.recordings import (
    ImportFormat,
    Plan,
    Recording,
    RecordingError,
    unique,
)
from world_model.data.importing.steps import Step
from world_model.data.importing.video import DAMAGED, VideoDamaged, open_video
from world_model.data.importing.vpt_records import (
    BROKEN,
    GUI_SCALES,
    BrokenRecord,
    VPTDecoder,
    count_lines,
    read_lines,
)
from world_model.data.metadata import DatasetInfo
from world_model.data.resizing import resize_picture
from world_model.errors import DataError
from world_model.minecraft.minerl import MineRLFormat, minerl_spec

FPS = 20.0
TOLERANCE = 0.02
"""Share of a recording by which the numbers of frames and of lines may differ."""
SEGMENT_MINUTES = 5
NO_ACTIONS = "there is a video, but no jsonl file beside it"
NO_VIDEO = "there is a jsonl file, but no video beside it"
NOT_THERE = "listed, but there is no such file"
MISMATCH = "the numbers of frames and of lines are too far apart"
ONE_TOO_MANY = "frames without a line, or lines without a frame, at the end"
UNALIGNED = "frames after a broken line where lines are missing: which line is whose is unknown"
IDLE = "frames in which the player did nothing"
GAP = "gaps between the segments of a session: some are missing"


@dataclass(frozen=True)
class VPT(ImportFormat):
    """Imports VPT contractor recordings (also BASALT and MineRL 1.0): mp4 and jsonl files.

    SOURCE is a folder of them, or an index file ({"basedir": ..., "relpaths": [...]}), whose
    recordings are looked for beside it.
    """

    drop_null: bool = False
    """Leave frames out in which the player does nothing, as VPT did. A world then never sees what
    happens while one waits."""
    gui_scales: bool = False
    """Scale mouse movements in open screens by the version of the recorder, where it was off."""

    def settings(self) -> dict[str, Any]:
        """What decides the content, beyond size and length."""
        return {"drop_null": self.drop_null, "gui_scales": self.gui_scales}

    def plan(self) -> Plan:
        """Looks through the folder or the index."""
        findings = Findings()
        if self.source.is_dir():
            recordings = _scan(self.source, findings)
        else:
            recordings = _read_index(self.source, findings)
        recordings = unique(recordings, findings)
        _note_gaps(recordings, findings)
        info = DatasetInfo(
            action_spec=minerl_spec(),
            frame_shape=(*self.size, 3),
            fps=FPS,
            source={
                "preset": "minecraft-vpt",
                "environment": "Minecraft",
                "format": "vpt",
                "camera": "degrees (pitch, yaw), not rounded",
                "null_frames": "dropped" if self.drop_null else "kept",
                "reward": "none was recorded",
            },
        )
        return Plan(tuple(recordings), info, findings)

    def read(self, recording: Recording, info: DatasetInfo, findings: Findings) -> Iterator[Step]:
        """The frames up to where video or lines end."""
        name = recording.name
        lines = count_lines(recording.actions)
        if not lines:
            raise RecordingError(MISMATCH, "there are no lines")
        scale = GUI_SCALES.get(recording.about.get("recorder_version", ""), 1.0)
        decoder = VPTDecoder(scale if self.gui_scales else 1.0)
        actions = MineRLFormat(info.action_spec)
        counts = RecordingCounts()
        with open_video(recording.video) as video:
            if abs(video.declared - lines) > max(2, TOLERANCE * max(video.declared, lines)):
                raise RecordingError(MISMATCH, f"{video.declared} frames, {lines} lines")
            seen = 0
            try:
                # The shorter of the two first, or a frame or a line would be lost unseen.
                pairs = zip(read_lines(recording.actions), video.frames(), strict=False)
                for index, (line, frame) in enumerate(pairs):
                    seen = index + 1
                    try:
                        record = decoder.decode(line)
                    except BrokenRecord:
                        counts.add("dropped", BROKEN)
                        yield Step(index, resize_picture(frame, self.size), None)
                        if lines == video.declared:
                            continue
                        findings.dropped(UNALIGNED, name, max(0, lines - seen), "frames")
                        return
                    for reason in record.repaired:
                        counts.add("repaired", reason)
                    for reason in record.noted:
                        counts.add("noted", reason)
                    if self.drop_null and record.action.is_null[0]:
                        counts.add("dropped", IDLE)
                        continue
                    if record.cursor is not None:
                        draw_cursor(frame, *record.cursor)
                    action = actions.write(record.action)[0]
                    yield Step(index, resize_picture(frame, self.size), action)
            except VideoDamaged as damage:
                where = f"{name} {damage.detail}"
                findings.dropped(DAMAGED, where, max(1, lines - seen), "frames")
            else:
                if (rest := max(video.declared, lines) - seen) > 0:
                    where = f"{name} ({video.declared} frames, {lines} lines, {seen} used)"
                    findings.repaired(ONE_TOO_MANY, where, rest)
            finally:
                counts.tell(findings, name)


def _scan(root: Path, findings: Findings) -> list[Recording]:
    recordings = []
    videos = list(find_files(root, ".mp4", findings))
    for video in videos:
        name = video.relative_to(root).with_suffix("").as_posix()
        if recording := _recording(root, name, video, findings):
            recordings.append(recording)
    known = {video.with_suffix("") for video in videos}
    for actions in find_files(root, ".jsonl", findings):
        if actions.with_suffix("") not in known:
            findings.dropped(NO_VIDEO, actions.relative_to(root).as_posix())
    return recordings


def _read_index(path: Path, findings: Findings) -> list[Recording]:
    try:
        index = json.loads(path.read_bytes())
        names = index["relpaths"]
        base = index.get("basedir") or ""
        if not isinstance(names, list) or not isinstance(base, str):
            raise TypeError("relpaths must be a list, and basedir a text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'{path} is no index of recordings ({error!r}). Give a folder, or a file {{"basedir": '
            '..., "relpaths": [...]}.'
        ) from None
    root = path.parent
    # The published indices name the address to download from; files here lie beside the index.
    bases = [""] if "://" in base or inside(root, base) is None else [base.rstrip("/") + "/", ""]
    recordings = []
    for entry in names:
        if not isinstance(entry, str) or inside(root, entry) is None:
            findings.dropped(OUTSIDE, str(entry)[:200])
            continue
        name = re.sub(r"\.(mp4|jsonl)$", "", entry)
        places = [prefix + name for prefix in bases] + [name.rpartition("/")[2]]
        found = [place for place in places if (root / f"{place}.mp4").exists()]
        if not found:
            reason = NO_VIDEO if (root / f"{name}.jsonl").exists() else NOT_THERE
            findings.dropped(reason, name)
            continue
        if inside(root, f"{found[0]}.mp4") is None:
            findings.dropped(OUTSIDE, name)
            continue
        if recording := _recording(root, found[0], root / f"{found[0]}.mp4", findings):
            recordings.append(recording)
    return recordings


def _recording(root: Path, name: str, video: Path, findings: Findings) -> Recording | None:
    actions = video.with_suffix(".jsonl")
    if not actions.is_file():
        findings.dropped(NO_ACTIONS, name)
        return None
    if inside(root, f"{name}.jsonl") is None:
        findings.dropped(OUTSIDE, name)
        return None
    about = {"policy": "human"}
    versions = [part for part in Path(name).parts[:-1] if re.fullmatch(r"\d+\.\d+", part)]
    if versions:
        about["recorder_version"] = versions[-1]
    return Recording(name, video, actions, about)


def _note_gaps(recordings: list[Recording], findings: Findings) -> None:
    """Notes where the segments of a session do not follow each other."""
    last: dict[str, datetime] = {}
    for recording in recordings:  # by name, and so by time within a session
        match = re.fullmatch(r"(.+)-(\d{8})-(\d{6})", recording.name)
        if match is None:
            continue
        session = match[1]
        try:
            begun = datetime.strptime(match[2] + match[3], "%Y%m%d%H%M%S")
        except ValueError:
            continue
        if session in last and (begun - last[session]).total_seconds() > 60 * SEGMENT_MINUTES + 30:
            findings.noted(GAP, recording.name, 1, "gaps")
        last[session] = begun
