"""Recorded images at another size."""

from __future__ import annotations

import numpy as np


def resize_area(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Averages over the area that each new pixel covers, rounded to the nearest level.

    Args:
        images: uint8 (n, H, W, C).
        size: new height and width.

    Returns:
        uint8 (n, *size, C).
    """
    if images.shape[1:3] == size:
        return images
    rows, row_weights = _taps(images.shape[1], size[0])
    columns, column_weights = _taps(images.shape[2], size[1])
    resized = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for i, image in enumerate(images):
        wide = np.zeros((size[0], *image.shape[1:]), np.float32)
        for index, weight in zip(rows, row_weights, strict=True):
            wide += image[index] * weight[:, None, None]
        small = np.full((*size, image.shape[2]), 0.5, np.float32)
        for index, weight in zip(columns, column_weights, strict=True):
            small += wide[:, index] * weight[None, :, None]
        resized[i] = np.minimum(small, 255)
    return resized


def resize_picture(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One picture of any source, uint8 (H, W, 3), averaged over areas by Pillow, which is fast."""
    from PIL import Image

    if picture.shape[:2] == tuple(size):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BOX))


def resize_nearest(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Takes the class at the middle of each new pixel: uint8 (n, H, W) to (n, *size)."""
    if masks.shape[1:] == size:
        return masks
    rows, columns = (
        ((2 * np.arange(new) + 1) * old) // (2 * new)
        for old, new in zip(masks.shape[1:], size, strict=True)
    )
    return masks[:, rows[:, None], columns]


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 and float32 (k, new): which old pixels each new one covers, and how much of it."""
    edges = np.arange(new + 1) * (old / new)
    start, stop = edges[:-1], edges[1:]
    index = np.floor(start).astype(np.int64) + np.arange(int(np.ceil(old / new)) + 1)[:, None]
    covered = np.minimum(index + 1, stop) - np.maximum(index, start)
    weights = np.clip(covered, 0, None) / (stop - start)
    return np.minimum(index, old - 1), weights.astype(np.float32)
