"""Cells of tables that others wrote: numbers of any type, pictures of any kind."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from world_model.data.images import IMAGE_ERRORS
from world_model.data.importing.paths import inside

MOST_PIXELS = 4096 * 4096
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


class CellError(ValueError):
    """A cell does not hold what it should."""


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers, or of lists of them, as (rows, K); whole numbers and bools stay such.

    Raises:
        ValueError: if they are no numbers, or lists of different lengths; None becomes NaN.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):  # datasets' arrays of several dimensions
        column, kind = pa.chunked_array([c.storage for c in column.chunks]), kind.storage_type
    width = 1
    array: Any = column.combine_chunks()
    while any(is_kind(kind) for is_kind in _LISTS):
        lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
        if array.null_count or (len(lengths) and (lengths != lengths[0]).any()):
            raise ValueError("lists of different lengths")
        width *= int(lengths[0]) if len(lengths) else 0
        array = array.flatten()
        kind = array.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"{kind} is no number")
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype == object:  # bools or integers with gaps
        values = np.array([np.nan if v is None else v for v in values], np.float64)
    return values.reshape(len(column), width)


def decode_picture(cell: Any, root: Path | None, *, colour: bool = True) -> np.ndarray:
    """A cell of an image column: its bytes, or ``{"bytes": ..., "path": ...}``.

    Args:
        cell: the value.
        root: folder of the files that paths name; None: they are not looked at.
        colour: whether to convert it to RGB.

    Returns:
        uint8 (H, W, 3), or (H, W) as it is without ``colour``.

    Raises:
        CellError: if it is no picture.
    """
    from PIL import Image

    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if data is None and isinstance(cell, dict) and isinstance(cell.get("path"), str) and root:
        path = inside(root, cell["path"])
        try:
            data = path.read_bytes() if path else None
        except OSError as error:
            raise CellError(str(error)) from error
    if not isinstance(data, bytes):
        raise CellError("there is no picture")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise CellError(f"{image.width}x{image.height} pixels are too many")
            array = np.asarray(image.convert("RGB") if colour else image)
    except (*IMAGE_ERRORS, Image.DecompressionBombError, AttributeError) as error:
        if isinstance(error, CellError):
            raise
        raise CellError(str(error).splitlines()[0][:200] or type(error).__name__) from error
    if array.dtype != np.uint8 or array.ndim != (3 if colour else 2):
        raise CellError(f"a picture of {array.dtype} {array.shape}")
    return array
