"""Which episodes train a world, and which are kept to judge it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from world_model.errors import DataError

VALIDATION_SHARE = 0.05


def split_episodes(
    num_episodes: int, seed: int, validation_share: float = VALIDATION_SHARE
) -> dict[str, np.ndarray]:
    """Splits whole episodes into ``train`` and ``validation`` (sorted int64 indices).

    Each episode has a draw of its own, a function of (seed, index), so that recording more
    episodes later moves none from one side to the other. Two episodes or more have at least one
    on each side; a single one is for training.
    """
    draws = np.array([np.random.default_rng([seed, i]).random() for i in range(num_episodes)])
    validation = draws < validation_share
    if num_episodes > 1 and not validation.any():
        validation[draws.argmin()] = True
    if num_episodes and validation.all():
        validation[draws.argmax()] = False
    indices = np.arange(num_episodes)
    return {"train": indices[~validation], "validation": indices[validation]}


def to_ranges(indices: Sequence[int] | np.ndarray) -> str:
    """Sorted indices as half-open ranges.

    >>> to_ranges([0, 1, 2, 5, 7, 8])
    '0:3,5:6,7:9'
    """
    indices = np.asarray(indices, np.int64)
    if len(indices) == 0:
        return ""
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    return ",".join(f"{part[0]}:{part[-1] + 1}" for part in np.split(indices, breaks))


def from_ranges(text: str) -> np.ndarray:
    """The indices that :func:`to_ranges` was given.

    >>> from_ranges("0:3,5:6")
    array([0, 1, 2, 5])

    Raises:
        DataError: if the text is damaged.
    """
    try:
        bounds = [tuple(map(int, part.split(":"))) for part in text.split(",") if part]
        parts = [np.arange(start, stop) for start, stop in bounds]
    except ValueError as error:
        raise DataError(f"damaged split {text!r} in info.json: {error}.") from error
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
