"""Pictures: finding the image in what an environment observes, and making a frame of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from world_model.data.resizing import resize_picture
from world_model.errors import ConfigError

PREFERRED = ("screen", "image", "rgb", "pixels")
"""Keys that say which of several images is the view."""
LARGEST_STATE = 64
"""Observations of more numbers than this are not kept as a state."""


def find_image(space: spaces.Space[Any], key: str | None, what: str) -> str | None:
    """Finds the image in observations of ``space``.

    Args:
        space: the observation space.
        key: the entry of a Dict that the user named.
        what: name of the environment, for errors.

    Returns:
        The key of the image in a Dict, or None where the observation itself is the image.

    Raises:
        ConfigError: if there is none, or it is unclear which one is meant.
    """
    if not isinstance(space, spaces.Dict):
        if key is not None:
            raise ConfigError(f"observation_key={key!r}: {what} observes {space}, no Dict.")
        if not is_image(space):
            raise ConfigError(_no_image(what, space))
        return None
    images = [name for name, sub in space.spaces.items() if is_image(sub)]
    if key is not None:
        if key not in images:
            raise ConfigError(
                f"observation_key={key!r} is no image among the observations of {what}. Images: "
                f"{', '.join(images) or 'none'}; all keys: {', '.join(space.spaces)}."
            )
        return key
    if not images:
        raise ConfigError(_no_image(what, space))
    chosen = [name for name in PREFERRED if name in images][:1] or images
    if len(chosen) > 1:
        raise ConfigError(
            f"{what} observes several images ({', '.join(images)}): choose one with "
            "--observation-key."
        )
    return chosen[0]


def is_image(space: spaces.Space[Any]) -> bool:
    """Whether ``space`` holds grey or colour pictures: (H, W), (H, W, C) or (C, H, W)."""
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3):
        return False
    if len(space.shape) == 3 and not _channels_last(space.shape) and not _channels_first(space):
        return False
    if space.dtype == np.uint8:
        return True
    # Numbers of another type are a picture only if they are large enough and keep to a range.
    sides = [n for n in space.shape if n > 4]
    return len(sides) == 2 and float(space.low.min()) == 0 and float(space.high.max()) in (1, 255)


def to_rgb(image: np.ndarray, unit: bool = False) -> np.ndarray:
    """A picture as uint8 (H, W, 3); grey is repeated, an alpha channel left out.

    Args:
        image: (H, W), (H, W, 1 | 3 | 4) or (1 | 3, H, W).
        unit: whether its values run from 0 to 1 rather than to 255.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    elif not _channels_last(image.shape):
        image = np.moveaxis(image, 0, -1)
    if image.dtype != np.uint8:
        scaled = np.asarray(image, np.float64) * (255 if unit else 1)
        image = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return image[..., :3]


def to_frame(
    picture: np.ndarray, size: tuple[int, int], crop: tuple[int, int, int, int] | None
) -> np.ndarray:
    """Crops uint8 (H, W, 3), and averages areas of pixels down to ``size``."""
    if crop is not None:
        top, bottom, left, right = crop
        picture = picture[top:bottom, left:right]
    return picture.copy() if picture.shape[:2] == size else resize_picture(picture, size)


def check_crop(picture: np.ndarray, crop: tuple[int, int, int, int] | None, what: str) -> None:
    """Raises ConfigError unless ``crop`` is a part of ``picture``."""
    height, width = picture.shape[:2]
    if crop is None:
        return
    top, bottom, left, right = crop
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ConfigError(
            f"crop={crop} (top, bottom, left, right) is no part of the {height}x{width} pictures "
            f"of {what}."
        )


def state_columns(space: spaces.Space[Any], image_key: str | None, render: bool) -> tuple[str, ...]:
    """Names of the numbers beside the picture that are kept as the state; may be none."""
    parts: dict[str, spaces.Space[Any]] = {}
    if isinstance(space, spaces.Dict):
        parts = {name: sub for name, sub in space.spaces.items() if name != image_key}
    elif render:
        parts = {"observation": space}
    names = [
        f"{name}.{i}"
        for name, sub in parts.items()
        if isinstance(sub, spaces.Box) and len(sub.shape) == 1
        for i in range(sub.shape[0])
    ]
    return tuple(names) if len(names) <= LARGEST_STATE else ()


def read_state(observation: Any, columns: tuple[str, ...]) -> np.ndarray:
    """The numbers that ``columns`` names, float32 (S,)."""
    if not columns:
        return np.zeros(0, np.float32)
    if not isinstance(observation, Mapping):
        return np.asarray(observation, np.float32).ravel()
    keys = dict.fromkeys(name.rpartition(".")[0] for name in columns)
    return np.concatenate([np.asarray(observation[key], np.float32).ravel() for key in keys])


def _channels_last(shape: tuple[int, ...]) -> bool:
    return shape[-1] in (1, 3, 4)


def _channels_first(space: spaces.Box) -> bool:
    return space.shape[0] in (1, 3)


def _no_image(what: str, space: spaces.Space[Any]) -> str:
    return (
        f"{what} observes {space}, which is no image. Record what it renders, with --render, if it "
        "can draw itself."
    )
