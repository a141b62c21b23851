"""Episodes of Minari's files, column by column."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_model.data.importing.recordings import RecordingError
from world_model.errors import DataError

UNREADABLE = "the file of the episode cannot be read"


class ArrowEpisode(AbstractContextManager["ArrowEpisode"]):
    """An episode in an Arrow or Parquet file, whose columns are all as long as the observations.

    Raises:
        RecordingError: if it is damaged.
    """

    padding = 1
    """Rows at the end of every column but the observations that mean nothing."""

    def __init__(self, path: Path) -> None:
        try:
            self._table = _read_table(path).combine_chunks()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RecordingError(UNREADABLE, str(error).splitlines()[0][:200]) from error

    def __exit__(self, *error: object) -> None:
        return None

    def array(self, name: str) -> np.ndarray:
        """A column of numbers."""
        return np.asarray(_to_numpy(self._column(name)))

    def tree(self, name: str) -> Any:
        """A column of values of a space: an array, or a mapping of such."""
        return _tree(self._column(name))

    def column(self, name: str, key: str | None) -> Any:
        """A column, or an entry of its structs, whose cells are read one by one."""
        column = self._column(name)
        if key is None:
            return column
        try:
            return column.field(key)
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordingError(UNREADABLE, f"{name} has no {key!r}") from error

    def _column(self, name: str) -> Any:
        if name not in self._table.column_names:
            raise RecordingError(UNREADABLE, f"there is no column {name}")
        column = self._table.column(name)
        return column.chunk(0) if column.num_chunks else pa.array([], column.type)


class Hdf5Episode(AbstractContextManager["Hdf5Episode"]):
    """An episode of a ``main_data.hdf5``.

    Raises:
        RecordingError: if it is damaged.
    """

    padding = 0

    def __init__(self, path: Path, number: int) -> None:
        try:
            self._file = h5py_module().File(path, "r")
            self._group = self._file[f"episode_{number}"]
        except (OSError, KeyError, ValueError) as error:
            raise RecordingError(UNREADABLE, str(error).splitlines()[0][:200]) from error

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def array(self, name: str) -> np.ndarray:
        """A column of numbers."""
        return np.asarray(self._get(name))

    def tree(self, name: str) -> Any:
        """A column of values of a space: an array, or a mapping of such."""
        return _hdf5_tree(self._get(name))

    def column(self, name: str, key: str | None) -> Any:
        """A column, or an entry of it, whose cells are read one by one."""
        found = self._get(name)
        try:
            return found if key is None else found[key]
        except (KeyError, ValueError) as error:
            raise RecordingError(UNREADABLE, f"{name} has no {key!r}") from error

    def _get(self, name: str) -> Any:
        try:
            return self._group[name]
        except KeyError as error:
            raise RecordingError(UNREADABLE, f"there is no {name}") from error


def hdf5_episodes(path: Path) -> dict[int, int | None]:
    """Numbers of the episodes in the file, in order, and the seed of each, where it has one.

    Raises:
        DataError: if it cannot be read, or h5py is not there to read it.
    """
    try:
        with h5py_module().File(path, "r") as file:
            found = {
                int(match[1]): _seed(file[name].attrs.get("seed"))
                for name in file
                if (match := re.fullmatch(r"episode_(\d+)", name))
            }
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    return dict(sorted(found.items()))


def _seed(value: Any) -> int | None:
    return int(value) if isinstance(value, int | np.integer) else None


def h5py_module() -> Any:
    """h5py.

    Raises:
        DataError: if it is not installed.
    """
    from importlib import import_module

    try:
        return import_module("h5py")
    except ImportError as error:
        raise DataError(
            "this Minari data set is an HDF5 file, which needs h5py: pip install h5py"
        ) from error


def _read_table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path, partitioning=None, use_threads=False)
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _hdf5_tree(found: Any) -> Any:
    if hasattr(found, "keys"):
        return {name: _hdf5_tree(found[name]) for name in found}
    return np.asarray(found)


def _tree(column: pa.Array) -> Any:
    if pa.types.is_struct(column.type):
        names = [column.type.field(i).name for i in range(column.type.num_fields)]
        return {name: _tree(column.field(name)) for name in names}
    return _to_numpy(column)


def _to_numpy(column: pa.Array) -> np.ndarray:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        rows = column.drop_null()
        return np.asarray(rows.flatten().to_numpy(zero_copy_only=False)).reshape(len(rows), -1)
    return np.asarray(column.to_numpy(zero_copy_only=False))
