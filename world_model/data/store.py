"""A data set as memory-mapped arrays: any frame is a slice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.action_spec import ActionSpec
from world_model.data.cache import CACHE_VERSION, Progress, build_cache, is_complete
from world_model.data.metadata import (
    EPISODES_PATH,
    INFO_PATH,
    PREVIOUS_ACTION,
    DatasetInfo,
    data_path,
    read_info,
)
from world_model.data.shards import read_summary
from world_model.data.splits import from_ranges
from world_model.errors import DataError
from world_model.types import Episode


def open_store(
    dataset_dir: str | Path,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    frame_size: tuple[int, int] | None = None,
) -> EpisodeStore:
    """Opens a data set; the first time, its frames are decoded into a cache.

    A build that was interrupted goes on where it stopped, and a second process that opens the
    same data set waits for the first.

    Args:
        dataset_dir: folder of the data set.
        cache_dir: folder for caches (default: ``.cache`` in the data set). A cache is named by
            the content of the data set, so a changed data set gets a new one.
        progress: called with (frames decoded, frames in all) while the cache is built.
        frame_size: height and width that frames get in the cache, each pixel the average of the
            area that it covers (default: as recorded). Each size has a cache of its own.

    Raises:
        DataError: if the data set is missing, unfinished, empty or damaged, or ``frame_size`` is
            no size.
        StorageError: if there is no room for the cache, or it cannot be written.
    """
    root = Path(dataset_dir)
    info = read_info(root)
    shards = _find_shards(root, int(info.get("total_frames", 0)))
    recorded = DatasetInfo.from_dict(info["nfd"], str(root / INFO_PATH)).frame_shape[:2]
    size = recorded if frame_size is None else (int(frame_size[0]), int(frame_size[1]))
    if min(size) < 1:
        raise DataError(f"frame_size={frame_size}: expected a height and a width in pixels.")
    key = _content_hash(info, shards, None if size == recorded else size)
    caches = Path(cache_dir) if cache_dir is not None else root / ".cache"
    cache = caches / key
    if not is_complete(cache):
        build_cache(cache, root, info, shards, size, progress)
    return EpisodeStore(root, info, cache, key)


def open_store_for(
    dataset_dir: str | Path,
    frame_shape: Sequence[int],
    source: Mapping[str, Any] | None = None,
    *,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> EpisodeStore:
    """Opens a data set at the size of a world's frames, if it can be meant for that world.

    Video comes at the size of the world's frames, and so do frames of the size that the world's
    own were resized from. Other images are lossless because they have the size of the worlds that
    they are for: they stay as they are, and whoever uses them should say that they do not fit.

    Args:
        dataset_dir: folder of the data set.
        frame_shape: height, width and channels of the world's frames.
        source: the world's ``source``.
        cache_dir: as for :func:`open_store`.
        progress: as for :func:`open_store`.

    Raises:
        DataError: as :func:`open_store`.
        StorageError: as :func:`open_store`.
    """
    root = Path(dataset_dir)
    info = DatasetInfo.from_dict(read_info(root)["nfd"], str(root / INFO_PATH))
    resized = (source or {}).get("resized_from") == list(info.frame_shape)
    fits = info.stores_video or resized
    size = (int(frame_shape[0]), int(frame_shape[1])) if fits else None
    return open_store(root, cache_dir, progress, frame_size=size)


class EpisodeStore:
    """Random access to the episodes of one data set; made by :func:`open_store`.

    The arrays are views of memory-mapped files, read-only and loaded by the page. Rows run over
    all episodes one after another; episode ``i`` has the rows ``offsets[i]:offsets[i + 1]``.
    """

    def __init__(self, root: Path, info: dict[str, Any], cache: Path, content_hash: str) -> None:
        self.root, self.cache = root, cache
        self.content_hash = content_hash
        """Name of the data set's content, 16 hex digits."""
        recorded = DatasetInfo.from_dict(info["nfd"], str(root / INFO_PATH))
        self.offsets = _load(cache, "offsets")
        """int64 (E + 1,), first row of every episode, and the number of rows."""
        self.frames = _load(cache, "frames", mapped=True)
        """uint8 (rows, H, W, 3)."""
        shape = (int(self.frames.shape[1]), int(self.frames.shape[2]), 3)
        source = dict(recorded.source)
        if shape != recorded.frame_shape:
            source["resized_from"] = list(recorded.frame_shape)
        # "image": these are the frames of the cache, of any size.
        self.info = replace(recorded, frame_shape=shape, source=source, storage="image")
        """Description of the data set, with frames as the cache has them."""
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
        """Source environment and preprocessing; ``resized_from`` where frames were resized."""
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
        """float32 (rows, K): the action that *produced* each frame, NaN at an episode's start.

        An episode that goes on where a recording was cut starts with the action before the cut.

        Raises:
            DataError: as :meth:`before_episodes`.
        """
        produced = np.empty_like(self.actions)
        produced[1:] = self.actions[:-1]
        produced[self.offsets[:-1]] = self.before_episodes()
        return produced

    def before_episodes(self) -> np.ndarray:
        """float32 (episodes, K): the action that led to the first frame of each.

        NaN, but for one that goes on where a recording was cut, whose info tells that action as
        ``previous_action``.

        Raises:
            DataError: if that is no action of the data set.
        """
        before = np.full((self.num_episodes, self.actions.shape[1]), np.nan, np.float32)
        for i, info in enumerate(self._infos()):
            if PREVIOUS_ACTION in info:
                before[i] = self._previous_action(i, info[PREVIOUS_ACTION])
        return before

    def _previous_action(self, episode: int, text: str) -> np.ndarray:
        try:
            action = np.array(json.loads(text), np.float32)
            self.action_spec.check(action[None])
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self.root / EPISODES_PATH} is damaged: the {PREVIOUS_ACTION} of episode "
                f"{episode} is {text[:80]!r} ({error}). Record the data set again."
            ) from error
        return action

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


def _find_shards(root: Path, total_frames: int) -> list[Path]:
    shards: list[Path] = []
    while (path := data_path(root, len(shards))).exists():
        shards.append(path)
    if not shards and any(path.parent.glob(f"*{path.suffix}")):
        raise DataError(f"{path} is missing, and there are later ones. Record the data set again.")
    if not shards or total_frames == 0:
        raise DataError(f"{root} has no episodes. Record some with 'nfd collect'.")
    return shards


def _content_hash(info: dict[str, Any], shards: list[Path], size: tuple[int, int] | None) -> str:
    """Hash of the metadata, of each shard's size and digest, and of a size to resize to."""
    parts: list[Any] = [CACHE_VERSION, info]
    if size is not None:
        parts.append(["resized", *size])
    for path in shards:
        parts.append([path.name, path.stat().st_size, read_summary(path).digest])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _load(cache: Path, name: str, mapped: bool = False) -> np.ndarray:
    path = cache / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}. Delete {cache} to build it anew.") from error
