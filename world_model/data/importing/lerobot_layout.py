"""Where the episodes of a LeRobotDataset lie: in files of their own, or, in v3.0, shared ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.importing.findings import Findings
from world_model.data.importing.paths import OUTSIDE, inside
from world_model.data.importing.recordings import Recording
from world_model.errors import DataError

VERSIONS = ("v2.0", "v2.1", "v3.0")
NOT_THERE = "a file of the episode is missing"
WRONG_ENTRY = "the description of the episode is damaged"
_FIELD = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")


@dataclass(frozen=True)
class LeRobotEpisode(Recording):
    """An episode, in files that it may share with others."""

    index: int = 0
    """Its ``episode_index``."""
    length: int = 0
    """Number of rows."""
    start: float = 0.0
    """Second of the video at which it begins."""


@dataclass(frozen=True)
class Layout:
    """A data set's ``meta/info.json``."""

    root: Path
    """Folder of the data set."""
    info: dict[str, Any]
    """The content of the file."""

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """dtype, shape and names by column."""
        return self.info["features"]

    @property
    def shares_files(self) -> bool:
        """Whether several episodes lie in one file."""
        return self.info["codebase_version"] == "v3.0"

    def camera(self, wanted: str | None) -> str:
        """The column of the frames.

        Raises:
            DataError: if there is none of that name, or several to choose from.
        """
        kinds = ("video", "image")
        found = [
            name
            for name, feature in self.features.items()
            if feature.get("dtype") in kinds and name != "observation.labels"
        ]
        if wanted is None and len(found) == 1:
            return found[0]
        if wanted in found:
            assert wanted is not None
            return wanted
        listed = ", ".join(found) or "none"
        if wanted is None:
            raise DataError(f"{self.root} has these cameras: {listed}. Choose one: --camera NAME.")
        raise DataError(f"{self.root} has no camera {wanted!r}; there is: {listed}.")

    def episodes(self, camera: str, findings: Findings) -> Iterator[LeRobotEpisode]:
        """The episodes whose files are there.

        Raises:
            DataError: if the descriptions of the episodes cannot be read.
        """
        in_video = self.features[camera]["dtype"] == "video"
        rows_of: dict[Path, int] = {}
        found: list[tuple[LeRobotEpisode, Path]] = []
        for number, entry in enumerate(self._entries()):
            name = f"episode_{number:06d}"
            try:
                index, length = int(entry["episode_index"]), int(entry["length"])
                name = f"episode_{index:06d}"
                data = self._place(self.info["data_path"], entry, "data")
                video, start = data, 0.0
                if in_video:
                    prefix = f"videos/{camera}"
                    video = self._place(self.info["video_path"], entry, prefix, camera)
                    start = float(entry.get(f"{prefix}/from_timestamp") or 0.0)
                about = _about(entry)
            except _Outside:
                findings.dropped(OUTSIDE, name)
                continue
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                findings.dropped(WRONG_ENTRY, f"{name} ({error!r})")
                continue
            if missing := [path for path in {data, video} if not path.is_file()]:
                where = missing[0].relative_to(self.root).as_posix()
                findings.dropped(NOT_THERE, f"{name} ({where})")
                continue
            for path in {data, video}:
                rows_of[path] = rows_of.get(path, 0) + max(length, 1)
            own = "nfd/info" in entry
            episode = LeRobotEpisode(
                name, video, data, about, own, index=index, length=length, start=start
            )
            found.append((episode, data))
        for episode, _ in found:
            share = sum(
                path.stat().st_size * max(episode.length, 1) // rows_of[path]
                for path in {episode.video, episode.actions}
            )
            yield replace(episode, share=share)

    def _entries(self) -> Iterator[dict[str, Any]]:
        if not self.shares_files:
            path = self.root / "meta/episodes.jsonl"
            try:
                for line in path.read_text("utf-8").splitlines():
                    if line.strip():
                        entry = json.loads(line)
                        yield entry if isinstance(entry, dict) else {}
            except (OSError, ValueError, RecursionError) as error:
                raise DataError(f"{path} cannot be read: {error}.") from None
            return
        folder = self.root / "meta/episodes"
        paths = sorted(folder.glob("*/*.parquet"))
        if not paths:
            raise DataError(f"{folder} has no parquet files, which describe the episodes.")
        for path in paths:
            try:
                names = pq.read_schema(path).names
                wanted = [name for name in names if not name.startswith("stats/")]
                yield from pq.read_table(path, columns=wanted, partitioning=None).to_pylist()
            except (pa.ArrowException, OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read: {error}.") from None

    def _place(self, template: Any, entry: dict[str, Any], prefix: str, camera: str = "") -> Path:
        """A path as ``info.json`` spells it out, with nothing but these fields filled in."""
        values: dict[str, Any] = {"video_key": camera, "episode_index": entry["episode_index"]}
        if self.shares_files:
            values["chunk_index"] = entry[f"{prefix}/chunk_index"]
            values["file_index"] = entry[f"{prefix}/file_index"]
        else:
            chunk_size = int(self.info.get("chunks_size") or 1000)
            values["episode_chunk"] = int(entry["episode_index"]) // chunk_size

        def fill(match: re.Match[str]) -> str:
            value = values[match[1]]
            return f"{int(value):0{match[2]}d}" if match[2] else str(value)

        path = inside(self.root, _FIELD.sub(fill, str(template)))
        if path is None:
            raise _Outside
        return path


class _Outside(Exception):
    """A path leads out of the data set."""


def _about(entry: dict[str, Any]) -> dict[str, str]:
    """What an episode's info will have: its own, where it was recorded by us, or its tasks."""
    if "nfd/info" in entry:
        about = json.loads(entry["nfd/info"])
        return {str(key): str(value) for key, value in about.items()}
    tasks = entry.get("tasks") or []
    return {"task": "; ".join(map(str, tasks))} if tasks else {}


def read_layout(root: Path) -> Layout:
    """Reads ``meta/info.json``.

    Raises:
        DataError: if there is none, it is damaged, or of another version.
    """
    path = root / "meta/info.json"
    try:
        info = json.loads(path.read_bytes())
        version = info["codebase_version"]
        features = info["features"]
        good = float(info["fps"]) > 0 and "data_path" in info
        if not good or not all(isinstance(f, dict) for f in features.values()):
            raise ValueError("fps, data_path or features are no such thing")
    except FileNotFoundError:
        raise DataError(
            f"{root} is no LeRobotDataset: meta/info.json is missing. Give its folder."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None
    if version not in VERSIONS:
        raise DataError(
            f"{root} is a LeRobotDataset {version}; this reads {', '.join(VERSIONS)}. Convert it "
            "with LeRobot's own script."
        )
    return Layout(root, info)
