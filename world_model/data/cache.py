"""Decodes a data set once, into arrays that can be memory-mapped, at the size that is needed.

The work is cut into pieces of some hundred frames, which threads decode side by side (Pillow, the
video decoder and the scaler release the interpreter's lock). A piece that is written is noted, so
that a build that was killed goes on; nothing but the pieces under way is ever in memory.
"""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from world_model.data.metadata import IMAGE_KEY, INFO_PATH, DatasetInfo, video_path
from world_model.data.resizing import resize_area, resize_nearest
from world_model.data.shards import decode_images, read_summary, read_table, shard_video
from world_model.data.video_reading import ShardVideo
from world_model.errors import DataError, StorageError

CACHE_VERSION = 1
PIECE = 512  # frames of a video, a whole number of groups of pictures
CHUNK = 32  # frames in memory at a time
Progress = Callable[[int, int], None]

_THREADS = min(16, os.cpu_count() or 1)
_ABANDONED_AFTER = 7 * 24 * 3600.0  # seconds
_NUMBERS = {
    "actions": "action",
    "rewards": "next.reward",
    "terminated": "next.terminated",
    "truncated": "next.truncated",
    "frame_missing": "next.frame_missing",
    "state": "observation.state",
}


@dataclass(frozen=True)
class _Piece:
    """Some consecutive frames of one shard."""

    path: Path
    """The shard."""
    first: int
    """Number of its first frame in the shard."""
    frames: int
    """How many there are."""
    row: int
    """Row of its first frame in the cache."""
    video: ShardVideo | None
    """The mp4 of the shard, where frames are stored as video."""


def is_complete(cache: Path) -> bool:
    """Whether the folder of a cache is there, whole."""
    return (cache / "offsets.npy").exists()


def build_cache(
    cache: Path,
    root: Path,
    info: dict[str, Any],
    shards: list[Path],
    size: tuple[int, int],
    progress: Progress | None,
) -> None:
    """Builds the cache in the folder ``cache``, or goes on with a build that was interrupted.

    Args:
        cache: the folder, named by all that decides its content.
        root: folder of the data set.
        info: content of its info.json.
        shards: its parquet files.
        size: height and width of frames in the cache.
        progress: called with (frames decoded, frames in all).

    Raises:
        DataError: if the data set is damaged; what was decoded before is kept for the next try.
        StorageError: if there is no room, or the folder cannot be written.
    """
    description = DatasetInfo.from_dict(info["nfd"], str(root / INFO_PATH))
    folder = cache.with_name(f".{cache.name}.partial")
    _remove_leftovers(cache.parent)
    try:
        with _alone(folder):
            if not is_complete(cache):  # else another process has built it meanwhile
                lengths, pieces = _plan(root, description, shards)
                if sum(lengths) != info["total_frames"]:
                    raise DataError(
                        f"{root} should have {info['total_frames']} frames, but its files have "
                        f"{sum(lengths)}. One is missing: run the command that recorded them again."
                    )
                _decode_pieces(folder, pieces, sum(lengths), description, size, progress)
                _save_numbers(folder, shards, lengths, description)
                shutil.rmtree(cache, ignore_errors=True)
                (folder / "done").unlink()
                os.replace(folder, cache)
                (cache / "lock").unlink()
    except StorageError:
        raise
    except OSError as error:
        # A disk that has run full needs the room more than the next try needs the pieces.
        shutil.rmtree(folder, ignore_errors=True)
        raise StorageError(
            f"could not write {cache}: {error.strerror or error}. Free some disk space or choose "
            "another folder; nothing was left half-written."
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes ``folder`` and waits until no other process builds in it."""
    import fcntl

    with ExitStack() as stack:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = stack.enter_context(open(folder / "lock", "w"))
            except FileNotFoundError:  # another process has just finished and moved the folder
                continue
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / "lock")):
                    break
        try:
            yield
        finally:
            journal = folder / "done"
            if not journal.exists() or not journal.stat().st_size:  # nothing to go on with
                shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(caches: Path) -> None:
    """Removes builds that were interrupted and that nobody has gone on with."""
    for folder in [*caches.glob(".*.partial"), *caches.glob(".*.tmp")]:
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in [folder, *folder.iterdir()])
            if time.time() - newest > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)


def _plan(root: Path, info: DatasetInfo, shards: list[Path]) -> tuple[list[int], list[_Piece]]:
    """Lengths of all episodes, and the pieces that their frames are decoded in."""
    lengths: list[int] = []
    pieces: list[_Piece] = []
    row = 0
    for i, path in enumerate(shards):
        summary = read_summary(path)
        lengths += [episode["length"] for episode in summary.episodes]
        video = shard_video(video_path(root, i), summary, info)
        if video is not None:
            video.check()  # cheap, and better known before hours of decoding than after
        # Images lie in a parquet file, which is read as a whole.
        step = PIECE if video is not None and not info.has_labels else max(summary.rows, 1)
        for first in range(0, summary.rows, step):
            count = min(step, summary.rows - first)
            pieces.append(_Piece(path, first, count, row + first, video))
        row += summary.rows
    return lengths, pieces


def _decode_pieces(
    folder: Path,
    pieces: list[_Piece],
    rows: int,
    info: DatasetInfo,
    size: tuple[int, int],
    progress: Progress | None,
) -> None:
    """Writes ``frames.npy``, and ``labels.npy`` where the data set has labels."""
    shapes: dict[str, tuple[int, ...]] = {"frames": (*size, 3)}
    if info.has_labels:
        shapes["labels"] = size
    journal = folder / "done"
    finished = set(journal.read_text().splitlines()) if journal.exists() else set()
    todo = [piece for piece in pieces if _name(piece) not in finished]
    left = sum(piece.frames for piece in todo)
    _check_room(folder, left * sum(math.prod(shape) for shape in shapes.values()))
    stop = threading.Event()
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(_ArrayFile(folder / f"{name}.npy", (rows, *shape)))
            for name, shape in shapes.items()
        }
        notes = stack.enter_context(open(journal, "a"))
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        stack.callback(stop.set)  # runs first
        futures = {pool.submit(_fill, piece, files, info, size, stop): piece for piece in todo}
        for future in as_completed(futures):
            future.result()
            notes.write(f"{_name(futures[future])}\n")
            notes.flush()
            left -= futures[future].frames
            if progress is not None:
                progress(rows - left, rows)


def _fill(
    piece: _Piece,
    files: dict[str, _ArrayFile],
    info: DatasetInfo,
    size: tuple[int, int],
    stop: threading.Event,
) -> None:
    """Decodes one piece into the files."""
    for name, row, images in _images(piece, info, size):
        files[name].write(row, images)
        if stop.is_set():
            return


def _images(
    piece: _Piece, info: DatasetInfo, size: tuple[int, int]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name of the array, first row, and images of each chunk of a piece."""
    shape = info.frame_shape
    if piece.video is not None:
        if piece.first == 0:
            piece.video.check_content()
        row = piece.row
        for frames in piece.video.read(piece.first, piece.first + piece.frames, size, CHUNK):
            yield "frames", row, frames
            row += len(frames)
    else:
        for first, images in _pngs(piece, IMAGE_KEY, shape):
            yield "frames", piece.row + first, resize_area(images, size)
    if info.has_labels:
        for first, images in _pngs(piece, "observation.labels", shape[:2]):
            yield "labels", piece.row + first, resize_nearest(images, size)


def _pngs(piece: _Piece, name: str, shape: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    column = _column(piece.path, name)
    for first in range(0, piece.frames, CHUNK):
        part = column.slice(first, CHUNK)
        yield first, decode_images(piece.path, part, shape, first_row=first)


class _ArrayFile:
    """A uint8 array file whose rows are written in any order, by several threads.

    Plain writes rather than a writable memory map: on a full disk a map kills the process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        path.touch()
        self._file = path.open("r+b")
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._start, self._row = self._file.tell(), math.prod(shape[1:])
        self._file.truncate(self._start + math.prod(shape))

    def write(self, row: int, images: np.ndarray) -> None:
        """Writes uint8 (n, ...) from ``row`` on."""
        data = np.ascontiguousarray(images).data.cast("B")
        at = self._start + row * self._row
        while data:
            written = os.pwrite(self._file.fileno(), data, at)
            data, at = data[written:], at + written

    def __enter__(self) -> _ArrayFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"the decoded frames need {needed / 1e9:.1f} GB more, but {folder.parent} has only "
            f"{free / 1e9:.1f} GB free. Free some disk space, choose another folder for caches, "
            "or smaller frames."
        )


def _name(piece: _Piece) -> str:
    return f"{piece.row}:{piece.row + piece.frames}"


def _save_numbers(folder: Path, shards: list[Path], lengths: list[int], info: DatasetInfo) -> None:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _NUMBERS}
    columns = [name for name in _NUMBERS.values() if name in info.columns()]
    for path in shards:
        table = read_table(path, columns)
        for name, column in _NUMBERS.items():
            parts[name].append(_numbers(table, column))
    for name, arrays in parts.items():
        np.save(folder / f"{name}.npy", np.concatenate(arrays), allow_pickle=False)
    np.save(folder / "offsets.npy", np.cumsum([0, *lengths]), allow_pickle=False)


def _column(path: Path, name: str) -> pa.ChunkedArray:
    try:
        return read_table(path, [name]).column(name)
    except KeyError as error:
        raise DataError(f"{path} is damaged: {error}. Delete it and record it again.") from error


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:  # a data set without state
        return np.zeros((table.num_rows, 0), np.float32)
    array = table.column(name).combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, array.type.list_size)
    values = array.to_numpy(zero_copy_only=False)
    return values[:, None] if name in ("action", "observation.state") else values
