"""Arrays of an npz file, read without any means to unpickle what is in it."""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.lib import format as npy

from world_model.data.importing.recordings import RecordingError

LARGEST = 2**28
"""Bytes of an array; those of a recording are far smaller."""
UNREADABLE = "the file of arrays cannot be read"
PICKLED = "arrays of Python objects, which are never loaded"
_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, ValueError, TypeError,
    KeyError, RuntimeError, EOFError, SyntaxError, MemoryError, OverflowError,
)  # fmt: skip


def array_names(path: Path) -> list[str]:
    """Names of the arrays, none of which is read.

    Raises:
        RecordingError: if it is no npz file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _ERRORS as error:
        raise RecordingError(UNREADABLE, str(error)) from error
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def read_arrays(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """The arrays whose names are ``wanted``.

    Raises:
        RecordingError: if the file is damaged, or one of them holds Python objects.
    """
    arrays = {}
    name = ""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if not entry.filename.endswith(".npy") or not wanted(name):
                    continue
                if entry.file_size > LARGEST:
                    raise RecordingError(UNREADABLE, f"{name} has {entry.file_size} bytes")
                with archive.open(entry) as file:
                    arrays[name] = _read_array(cast(BinaryIO, file), name)
    except RecordingError:
        raise
    except _ERRORS as error:
        raise RecordingError(UNREADABLE, f"{name}: {error}" if name else str(error)) from error
    return arrays


def read_npy(path: Path) -> np.ndarray:
    """The array of an npy file.

    Raises:
        RecordingError: if it is damaged, or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            return _read_array(file, path.name)
    except RecordingError:
        raise
    except _ERRORS as error:
        raise RecordingError(UNREADABLE, f"{path.name}: {error}") from error


def _read_array(file: BinaryIO, name: str) -> np.ndarray:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    else:
        raise ValueError(f"npy version {version} is unknown")
    if dtype.hasobject:
        raise RecordingError(PICKLED, name)
    data = file.read(LARGEST + 1)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes are not {shape} of {dtype}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
