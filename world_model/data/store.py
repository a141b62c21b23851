"""A data set as memory-mapped arrays: decoded once, then any frame is a slice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.action_spec import ActionSpec
from world_model.data.metadata import EPISODES_PATH, INFO_PATH, DatasetInfo, data_path, read_info
from world_model.data.shards import decode_images, read_summary, read_table
from world_model.data.splits import from_ranges
from world_model.errors import DataError
from world_model.storage import atomic_folder
from world_model.types import Episode

CACHE_VERSION = 1
Progress = Callable[[int, int], None]


def open_store(
    dataset_dir: str | Path,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> EpisodeStore:
    """Opens a data set; the first time, its frames are decoded into a cache.

    Args:
        dataset_dir: folder of the data set.
        cache_dir: folder for caches (default: ``.cache`` in the data set). A cache is named by
            the content of the data set, so a changed data set gets a new one.
        progress: called with (frames decoded, frames in all) while the cache is built.

    Raises:
        DataError: if the data set is missing, unfinished, empty or damaged.
        StorageError: if the cache cannot be written.
    """
    root = Path(dataset_dir)
    info = read_info(root)
    shards = _find_shards(root, int(info.get("total_frames", 0)))
    key = _content_hash(info, shards)
    caches = Path(cache_dir) if cache_dir is not None else root / ".cache"
    cache = caches / key
    if not (cache / "offsets.npy").exists():
        _remove_leftovers(caches)
        with atomic_folder(cache) as temporary:
            _build_cache(temporary, root, info, shards, progress)
    return EpisodeStore(root, info, cache, key)


class EpisodeStore:
    """Random access to the episodes of one data set; made by :func:`open_store`.

    The arrays are views of memory-mapped files, read-only and loaded by the page. Rows run over
    all episodes one after another; episode ``i`` has the rows ``offsets[i]:offsets[i + 1]``.
    """

    def __init__(self, root: Path, info: dict[str, Any], cache: Path, content_hash: str) -> None:
        self.root, self.cache = root, cache
        self.content_hash = content_hash
        """Name of the data set's content, 16 hex digits."""
        self.info = DatasetInfo.from_dict(info["nfd"], str(root / INFO_PATH))
        self.offsets = _load(cache, "offsets")
        """int64 (E + 1,), first row of every episode, and the number of rows."""
        self.frames = _load(cache, "frames", mapped=True)
        """uint8 (rows, H, W, 3)."""
        self.labels = _load(cache, "labels", mapped=True) if self.info.has_labels else None
        """uint8 (rows, H, W), or None."""
        self.actions = _load(cache, "actions")
        """float32 (rows, K), as on disk: the action taken *at* each row."""
        self.rewards = _load(cache, "rewards")
        """float32 (rows,), reward of the action taken at each row."""
        self.terminated = _load(cache, "terminated")
        """bool (rows,)."""
        self.truncated = _load(cache, "truncated")
        """bool (rows,)."""
        self.frame_missing = _load(cache, "frame_missing")
        """bool (rows,), where the action of the row ended the episode without a frame."""
        self.state = _load(cache, "state")
        """float32 (rows, S)."""
        self._splits = {name: from_ranges(text) for name, text in info["splits"].items()}
        self._episode_info: list[dict[str, str]] | None = None
        for name, indices in self._splits.items():
            if len(indices) and indices[-1] >= self.num_episodes:
                raise DataError(
                    f"split {name!r} of {root} names episode {indices[-1]}, but there are only "
                    f"{self.num_episodes}. Record the data set again."
                )

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.offsets) - 1

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> np.ndarray:
        """int64 (E,), number of frames of every episode."""
        return np.diff(self.offsets)

    @property
    def action_spec(self) -> ActionSpec:
        """The actions."""
        return self.info.action_spec

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        return self.info.frame_shape

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.info.fps

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the columns of ``state``."""
        return self.info.state_names

    @property
    def source(self) -> dict[str, Any]:
        """Source environment and preprocessing."""
        return self.info.source

    def split(self, name: str) -> np.ndarray:
        """Sorted indices of the episodes of a split, ``train`` or ``validation``.

        Raises:
            DataError: if there is no such split.
        """
        if name not in self._splits:
            raise DataError(f"no split is called {name!r}; there is {', '.join(self._splits)}.")
        return self._splits[name]

    def episode(self, index: int) -> Episode:
        """Episode ``index``; its arrays are read-only views, copy them before writing to them."""
        if not 0 <= index < self.num_episodes:
            raise DataError(f"episode {index} is not in 0..{self.num_episodes - 1}.")
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        # An action whose frame is missing still counts; else the last row has no action.
        end = stop if self.frame_missing[stop - 1] else stop - 1
        return Episode(
            frames=self.frames[start:stop],
            actions=self.actions[start:end],
            rewards=self.rewards[start:end],
            terminated=self.terminated[start:end],
            truncated=self.truncated[start:end],
            state=self.state[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            info=self._infos()[index],
        )

    def produced_by(self) -> np.ndarray:
        """float32 (rows, K): the action that *produced* each frame, NaN at an episode's start."""
        produced = np.empty_like(self.actions)
        produced[1:] = self.actions[:-1]
        produced[self.offsets[:-1]] = np.nan
        return produced

    def _infos(self) -> list[dict[str, str]]:
        if self._episode_info is None:
            path = self.root / EPISODES_PATH
            try:
                column = pq.read_table(path, columns=["nfd/info"]).column(0).to_pylist()
                self._episode_info = [json.loads(text) for text in column]
            except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
                raise DataError(
                    f"{path} is damaged: {error}. Record the data set again."
                ) from error
        return self._episode_info


def _remove_leftovers(caches: Path) -> None:
    """Removes what builds that were killed have left; a living one writes all the time."""
    for folder in caches.glob(".*.tmp"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in [folder, *folder.iterdir()])
            if time.time() - newest > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)


def _find_shards(root: Path, total_frames: int) -> list[Path]:
    shards: list[Path] = []
    while (path := data_path(root, len(shards))).exists():
        shards.append(path)
    if not shards or total_frames == 0:
        raise DataError(f"{root} has no episodes. Record some with 'nfd collect'.")
    return shards


def _content_hash(info: dict[str, Any], shards: list[Path]) -> str:
    """Hash of the metadata, and of each shard's size and digest of its content."""
    parts: list[Any] = [CACHE_VERSION, info]
    for path in shards:
        parts.append([path.name, path.stat().st_size, read_summary(path).digest])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _build_cache(
    folder: Path,
    root: Path,
    info: dict[str, Any],
    shards: list[Path],
    progress: Progress | None,
) -> None:
    description = DatasetInfo.from_dict(info["nfd"], str(root / INFO_PATH))
    lengths = [e["length"] for path in shards for e in read_summary(path).episodes]
    rows = sum(lengths)
    if rows != info["total_frames"]:
        raise DataError(
            f"{root} should have {info['total_frames']} frames, but its files have {rows}. One is "
            "missing: run the command that recorded them again."
        )
    numbers: dict[str, list[np.ndarray]] = {name: [] for name in _NUMBERS}
    height, width, _ = description.frame_shape
    shapes: dict[str, tuple[int, ...]] = {"frames": description.frame_shape}
    if description.has_labels:
        shapes["labels"] = (height, width)
    # Plain writes rather than a writable memory map: on a full disk a map kills the process.
    with ExitStack() as files:
        images = {}
        for name, shape in shapes.items():
            images[name] = files.enter_context(open(folder / f"{name}.npy", "wb"))
            header = {"descr": "|u1", "fortran_order": False, "shape": (rows, *shape)}
            np.lib.format.write_array_header_1_0(images[name], header)
        pool = files.enter_context(ThreadPoolExecutor(_THREADS))
        done = 0
        for i in range(0, len(shards), _THREADS):
            for decoded in pool.map(partial(_decode, shapes=shapes), shards[i : i + _THREADS]):
                for name, file in images.items():
                    file.write(decoded[name].data)
                for name in _NUMBERS:
                    numbers[name].append(decoded[name])
                done += len(decoded["rewards"])
                if progress is not None:
                    progress(done, rows)
    for name, parts in numbers.items():
        np.save(folder / f"{name}.npy", np.concatenate(parts), allow_pickle=False)
    np.save(folder / "offsets.npy", np.cumsum([0, *lengths]), allow_pickle=False)


def _decode(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """All that the cache keeps of one shard."""
    table = read_table(path)
    try:
        images = {name: table.column(f"observation.{_IMAGES[name]}") for name in shapes}
        arrays = {name: _numbers(table, column) for name, column in _NUMBERS.items()}
    except KeyError as error:
        raise DataError(f"{path} is damaged: {error}. Delete it and record it again.") from error
    for name, shape in shapes.items():
        arrays[name] = decode_images(path, images[name], shape)
    return arrays


_ABANDONED_AFTER = 600.0  # seconds
_THREADS = min(8, os.cpu_count() or 1)  # decoding releases the interpreter's lock
_IMAGES = {"frames": "image", "labels": "labels"}
_NUMBERS = {
    "actions": "action",
    "rewards": "next.reward",
    "terminated": "next.terminated",
    "truncated": "next.truncated",
    "frame_missing": "next.frame_missing",
    "state": "observation.state",
}


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    if name == "observation.state" and name not in table.column_names:
        return np.zeros((table.num_rows, 0), np.float32)
    array = table.column(name).combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, array.type.list_size)
    values = array.to_numpy(zero_copy_only=False)
    return values[:, None] if name in ("action", "observation.state") else values


def _load(cache: Path, name: str, mapped: bool = False) -> np.ndarray:
    path = cache / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}. Delete {cache} to build it anew.") from error
