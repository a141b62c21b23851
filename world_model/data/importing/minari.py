"""Minari data sets, in HDF5, Arrow or Parquet files, read without Minari.

An episode has N + 1 observations and N actions. Observations may be JPEGs, which is Minari's
default for images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.data.importing.cells import CellError, decode_picture
from world_model.data.importing.findings import Findings
from world_model.data.importing.minari_files import (
    UNREADABLE,
    ArrowEpisode,
    Hdf5Episode,
    hdf5_episodes,
)
from world_model.data.importing.minari_spaces import space_from_minari, vectors
from world_model.data.importing.recordings import ImportFormat, Plan, Recording, RecordingError
from world_model.data.importing.steps import Step
from world_model.data.importing.vectors import NOT_FINITE, encoded
from world_model.data.metadata import DatasetInfo
from world_model.data.resizing import resize_picture
from world_model.errors import ActionError, DataError

FPS = 20.0
WRONG_ARRAYS = "the arrays of the episode do not fit each other"
WRONG_IMAGE = "observations that are no images"


@dataclass(frozen=True)
class MinariEpisode(Recording):
    """An episode."""

    number: int = 0
    """Its number."""
    frame_missing: bool = False
    """Whether the last observation only stands in for one that there is not."""


@dataclass(frozen=True)
class Minari(ImportFormat):
    """Imports Minari data sets (0.5): folders with data/metadata.json; HDF5, Arrow and Parquet."""

    takes_recorded_size: ClassVar[bool] = True

    size: tuple[int, int] = (0, 0)
    """Height and width of the frames, averaged over areas (default, 0 0: as recorded)."""
    key: str | None = None
    """Entry of a Dict of observations that has the frames (default: the only image)."""
    fps: float | None = None
    """Frames per second, which Minari does not tell (default: 20)."""

    def settings(self) -> dict[str, Any]:
        """What decides the content, beyond size and length."""
        return {"key": self.key, "fps": self.fps}

    def plan(self) -> Plan:
        """Reads metadata.json."""
        root, metadata = self._metadata()
        findings = Findings()
        action_space = space_from_minari(metadata.get("action_space"))
        pixels = self._pixels(space_from_minari(metadata.get("observation_space")))
        try:
            spec = ActionSpec.from_space(action_space)
        except ActionError as error:
            raise DataError(f"{root}: {error}") from None
        size = self.size if any(self.size) else (pixels.shape[0], pixels.shape[1])
        info = DatasetInfo(
            action_spec=spec,
            frame_shape=(*size, 3),
            fps=self.fps or FPS,
            source={
                "name": str(metadata.get("dataset_id") or root.parent.name),
                "format": "minari",
                "environment": _environment(metadata),
            },
        )
        own = metadata.get("nfd_source")
        if isinstance(own, dict) and not self.key:
            info = DatasetInfo.from_dict(own, str(root / "metadata.json"))
            info = replace(info, label_classes={})
            if any(self.size) and self.size != info.frame_shape[:2]:
                info = replace(info, frame_shape=(*self.size, 3), storage="auto")
        seed = int(own.get("split_seed", 0)) if isinstance(own, dict) else 0
        return Plan(tuple(_episodes(root, metadata, findings)), info, findings, split_seed=seed)

    def read(self, recording: Recording, info: DatasetInfo, findings: Findings) -> Iterator[Step]:
        """The observations of an episode."""
        assert isinstance(recording, MinariEpisode)
        _, metadata = self._metadata()
        key = self.key or _image_key(space_from_minari(metadata.get("observation_space")))
        pixels = self._pixels(space_from_minari(metadata.get("observation_space")))
        opened = (
            Hdf5Episode(recording.actions, recording.number)
            if recording.actions.suffix == ".hdf5"
            else ArrowEpisode(recording.actions)
        )
        with opened as episode:
            rewards = episode.array("rewards")
            steps = len(rewards) - episode.padding
            try:
                taken = vectors(info.action_spec.space, episode.tree("actions"), steps)
            except (ValueError, TypeError, KeyError) as error:
                raise RecordingError(WRONG_ARRAYS, str(error)[:200]) from error
            actions = encoded(taken, info.action_spec)
            terminated = episode.array("terminations").astype(bool)
            observed = episode.column("observations", key)
            state = episode.tree("states").astype(np.float32) if info.state_names else None
            if steps < 1 or len(observed) < steps + 1 or len(terminated) < steps:
                raise RecordingError(WRONG_ARRAYS, f"{len(observed)} observations, {steps} rewards")
            unknown = 0
            frames = steps if recording.frame_missing else steps + 1
            try:
                for t in range(frames):
                    frame = _frame(observed, t, pixels)
                    known = t < steps and bool(
                        np.isfinite(actions[t]).all() and np.isfinite(rewards[t])
                    )
                    unknown += t < steps and not known
                    yield Step(
                        t,
                        resize_picture(frame, info.frame_shape[:2]),
                        actions[t] if known else None,
                        float(rewards[t]) if known else 0.0,
                        ends=recording.frame_missing and t == steps - 1,
                        terminated=t < steps and bool(terminated[t]),
                        state=None if state is None else state[t],
                    )
            except CellError as error:
                if t == 0:
                    raise RecordingError(WRONG_IMAGE, f"observation 0: {error}") from error
                where = f"{recording.name} (observation {t}: {error})"
                findings.dropped(WRONG_IMAGE, where, frames - t, "frames")
            finally:
                findings.dropped(NOT_FINITE, recording.name, unknown, "frames")

    def _metadata(self) -> tuple[Path, dict[str, Any]]:
        for root in (self.source / "data", self.source):
            path = root / "metadata.json"
            if not path.is_file():
                continue
            try:
                metadata = json.loads(path.read_bytes())
            except (OSError, ValueError, RecursionError) as error:
                raise DataError(f"{path} is damaged: {error}.") from None
            if not isinstance(metadata, dict) or "action_space" not in metadata:
                raise DataError(f"{path} is damaged: it has no action_space.")
            return root, metadata
        raise DataError(
            f"{self.source} is no Minari data set: data/metadata.json is missing. Give the folder "
            "of one, such as ~/.minari/datasets/NAME-v0."
        )

    def _pixels(self, space: spaces.Space) -> spaces.Box:
        key = self.key or _image_key(space)
        if isinstance(space, spaces.Dict):
            images = [name for name, sub in space.spaces.items() if _is_image(sub)]
            if key not in images:
                raise DataError(
                    f"--key {key}: the observations have these images: "
                    f"{', '.join(images) or 'none'}, of {', '.join(space.spaces)}."
                )
            space = space[key]
        if not _is_image(space):
            raise DataError(
                f"{self.source} observes {space}, not images uint8 (height, width, 3 or 1)."
            )
        assert isinstance(space, spaces.Box)
        return space


def _is_image(space: spaces.Space) -> bool:
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[2] in (1, 3))


def _image_key(space: spaces.Space) -> str | None:
    """The only image of a Dict; None elsewhere."""
    if not isinstance(space, spaces.Dict):
        return None
    images = [name for name, sub in space.spaces.items() if _is_image(sub)]
    return images[0] if len(images) == 1 else None


def _frame(observed: Any, t: int, pixels: spaces.Box) -> np.ndarray:
    """uint8 (H, W, 3) of an observation: raw pixels, or a JPEG."""
    cell = observed[t]
    value = cell.as_py() if isinstance(cell, pa.Scalar) and not _is_list(cell.type) else cell
    if isinstance(value, bytes | Mapping):
        return decode_picture(value, None)
    if isinstance(value, pa.Scalar):
        array = value.values.to_numpy(zero_copy_only=False)
    else:
        array = np.asarray(value)
    if array.dtype != np.uint8:
        raise CellError(f"it is {array.dtype}, not uint8")
    as_file = array.size != int(np.prod(pixels.shape)) or not isinstance(value, pa.Scalar)
    if array.ndim == 1 and as_file:  # raw pixels have all their dimensions, but in Arrow
        return decode_picture(array.tobytes(), None)
    if array.size != int(np.prod(pixels.shape)):
        raise CellError(f"it has shape {array.shape}, not {pixels.shape}")
    array = array.reshape((*pixels.shape[:2], -1))
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)


def _episodes(root: Path, metadata: dict[str, Any], findings: Findings) -> Iterator[MinariEpisode]:
    main = root / "main_data.hdf5"
    if metadata.get("data_format") == "hdf5" or (main.is_file() and "data_format" not in metadata):
        seeds = hdf5_episodes(main)
        share = main.stat().st_size // max(len(seeds), 1)
        for number, seed in seeds.items():
            name = f"episode_{number:06d}"
            yield MinariEpisode(name, main, main, _about(seed), share=share, number=number)
        return
    kind = "parquet" if metadata.get("data_format") == "parquet" else "arrow"
    for number in range(int(metadata.get("total_episodes") or 0)):
        name, folder = f"episode_{number:06d}", root / str(number)
        files = sorted(folder.glob(f"*.{kind}"))
        if len(files) != 1:
            findings.dropped(UNREADABLE, f"{name} ({len(files)} {kind} files)")
            continue
        try:
            about = json.loads((folder / "metadata.json").read_bytes())
            about = about if isinstance(about, dict) else {}
        except (OSError, ValueError, RecursionError):
            about = {}
        info = about.get("nfd_info")
        own = isinstance(info, dict)
        yield MinariEpisode(
            name,
            files[0],
            files[0],
            {str(k): str(v) for k, v in info.items()}
            if isinstance(info, dict)
            else _about(about.get("seed")),
            own,
            share=files[0].stat().st_size,
            number=number,
            frame_missing=own and about.get("frame_missing") is True,
        )


def _about(seed: Any) -> dict[str, str]:
    return {"seed": str(seed)} if isinstance(seed, int) else {}


def _environment(metadata: dict[str, Any]) -> str:
    try:
        return str(json.loads(metadata["env_spec"])["id"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return "unknown"
