"""The shape of an outcome model, as a world's config stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from world_model.errors import DataError, WorldFormatError


@dataclass(frozen=True)
class OutcomeConfig:
    """Shape of an :class:`OutcomeModel`; JSON-able."""

    frame_shape: tuple[int, int, int]
    """Height, width and channels (3) of the frames it watches."""
    channels: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of the convolutions; each halves height and width."""
    embedding: int = 256
    """Width of a frame's embedding."""
    action_embedding: int = 16
    """Width of an action's embedding."""
    hidden: int = 256
    """Width of the recurrent state."""
    head: int = 128
    """Hidden width of each head."""
    dropout: float = 0.1
    """Dropout on embeddings and heads, in training only."""
    reward_support: tuple[float, ...] = (0.0,)
    """Ascending values that the reward head puts probability on."""
    end_reward: float | None = None
    """Reward of a step that terminates the episode, where such steps show no frame that it could be
    read off: the mean of the recorded ones. None: read off the frame, like any other."""
    state_names: tuple[str, ...] = ()
    """What of the real environment's state the memory is taught to know."""
    state_supports: tuple[tuple[float, ...], ...] = ()
    """Support of each of these."""
    change_supports: tuple[tuple[float, ...], ...] = ()
    """Support of the change of each from one frame to the next."""

    def __post_init__(self) -> None:
        height, width, colours = self.frame_shape
        if colours != 3 or min(height, width) < 8:
            raise DataError(
                f"frames of shape {self.frame_shape} are not supported: expected (height, width, "
                "3) with at least 8 pixels a side."
            )
        if not self.channels or min(self.channels) < 1:
            raise DataError(f"channels={self.channels}: expected at least one convolution.")
        if not len(self.state_names) == len(self.state_supports) == len(self.change_supports):
            raise DataError(
                f"state_names={self.state_names} needs one support each, for the state and for "
                f"its change; got {len(self.state_supports)} and {len(self.change_supports)}."
            )
        if self.end_reward is not None and not math.isfinite(self.end_reward):
            raise DataError(f"end_reward must be a finite number, not {self.end_reward}.")
        for support in (self.reward_support, *self.state_supports, *self.change_supports):
            if not support or any(a >= b for a, b in pairwise(support)):
                raise DataError(f"a support must hold ascending values, but got {support}.")

    @classmethod
    def for_frames(cls, frame_shape: tuple[int, int, int], **settings: Any) -> OutcomeConfig:
        """The config whose last grid is about 4 cells a side: small, and it still knows where."""
        height, width, colours = frame_shape
        levels = max(2, round(math.log2(max(height, width) / 4)))
        channels = tuple(min(16 * 2**level, 64) for level in range(levels))
        return cls((height, width, colours), **{"channels": channels, **settings})

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, read back by :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OutcomeConfig:
        """Rebuilds a config from :meth:`to_dict`.

        Raises:
            WorldFormatError: if a field is missing, unknown or damaged.
        """
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise WorldFormatError(
                f"unknown settings of the outcome model: {sorted(unknown)}. The world was written "
                "by a newer version; update NFD-World."
            )
        try:
            return cls(**{key: _tuples(value) for key, value in data.items()})
        except (TypeError, ValueError) as error:
            raise WorldFormatError(f"damaged settings of the outcome model: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
