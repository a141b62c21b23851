"""Frames and masks as PNG bytes, exactly."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pyarrow as pa

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How ``datasets`` stores images in parquet."""
# Level 3 is within 1 % of the smallest file on game frames at three times the speed.
PNG_LEVEL = 3
PNG_ERRORS = (OSError, ValueError, TypeError, SyntaxError, EOFError, struct.error, zlib.error)
"""What Pillow may raise over bytes that are no whole PNG."""


def encode_png(array: np.ndarray) -> bytes:
    """uint8 (H, W, 3) or (H, W) as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """The uint8 array that :func:`encode_png` was given."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)
