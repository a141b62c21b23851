"""Frames as pictures for a browser, and pictures of a visitor as frames."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np

from nfd_env.web.limits import RequestError

LOSSLESS_PIXELS = 128
"""Frames up to this many pixels a side are sent as they are (PNG), larger ones as JPEG."""
UPLOAD_FORMATS = ("PNG", "JPEG", "WEBP")
UPLOAD_PIXELS = 16_000_000
"""Pixels of an uploaded picture, at most."""


def encode(frame: np.ndarray) -> bytes:
    """A frame uint8 (H, W, 3) as PNG, or as JPEG if it is large."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(frame)
    if max(frame.shape[:2]) <= LOSSLESS_PIXELS:
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def media_type(picture: bytes) -> str:
    """The media type of what :func:`encode` made."""
    return "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"


def sheet(frames: np.ndarray) -> bytes:
    """Frames uint8 (N, H, W, 3) one above the other in one JPEG, for a list of thumbnails."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def frames_of_uploads(
    uploads: Sequence[bytes], frame_shape: tuple[int, int, int], most: int, fit: bool
) -> np.ndarray:
    """Uploaded pictures as the frames that an episode starts from, uint8 (C, H, W, 3).

    Args:
        uploads: 1 to ``most`` files, PNG, JPEG or WebP, the newest last.
        frame_shape: of the world.
        most: frames of a context.
        fit: crop and resize pictures of another size, instead of refusing them.

    Raises:
        RequestError: if there are none or too many, or one is no such picture.
    """
    if not 1 <= len(uploads) <= most:
        raise RequestError(
            f"{len(uploads)} pictures: give 1 to {most}, the newest last; this world looks back "
            f"{most} frames."
        )
    return np.stack([_frame(upload, frame_shape, fit, i + 1) for i, upload in enumerate(uploads)])


def _frame(upload: bytes, frame_shape: tuple[int, int, int], fit: bool, number: int) -> np.ndarray:
    from PIL import Image, ImageOps

    height, width = frame_shape[:2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a decompression bomb only warns
            opened = Image.open(io.BytesIO(upload), formats=UPLOAD_FORMATS)
            size = opened.size
            if size[0] * size[1] > UPLOAD_PIXELS:
                raise RequestError(
                    f"picture {number} has {size[0]}x{size[1]} pixels; at most "
                    f"{UPLOAD_PIXELS // 1_000_000} million are taken."
                )
            if size != (width, height) and not fit:
                raise RequestError(
                    f"picture {number} has {size[0]}x{size[1]} pixels; this world takes "
                    f"{width}x{height}. Resize it, or ask for it to be fitted."
                )
            picture = opened.convert("RGB")
            if size != (width, height):
                picture = ImageOps.fit(picture, (width, height), Image.Resampling.BOX)
            return np.array(picture)
    except RequestError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise RequestError(
            f"picture {number} could not be read: expected a whole PNG, JPEG or WebP file."
        ) from error
