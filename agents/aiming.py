"""A player of Defend the Center that sees the monsters, as a policy.

The recordings' hunter is told by the game where monsters are; this one has frames alone, real or
imagined, and so earns in an imagined game what the monsters in it are worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

AIM_ACTIONS = frozenset(("stay", "attack", "right", "left"))
"""Names of the actions of the game that it knows."""


class Aim:
    """Turns to the nearest monster that the frame shows, and shoots at it.

    Demons are the only red things; marines are grey, which the brown wall behind them is not. Turns
    on the spot while it sees none. A share ``epsilon`` of its actions is random.

    Args:
        index: numbers of the actions ``attack``, ``left`` and ``right``.
        epsilon: share of random actions.
        rng: the dice.
    """

    # Shares of the frame that the recipe's crop shows: down to the feet of what is far, and the
    # wall, whose red exceeds its green by 20 to 24 by any light.
    AIR, WALL = 0.56, (0.06, 0.41)
    RED, GREY = 45, 12
    """Above the first, red exceeds green in a demon; below the second, in a marine."""
    HUE, LIGHT = 15, 150
    """What shots are not, whose flash is orange and white: a demon's green and blue differ by less
    than the first, and a marine's red is darker than the second."""
    LEAST, AIMED = 2, 0.05
    """Pixels of a column that are a monster, and how near to the middle is hit."""

    def __init__(self, index: Mapping[str, int], epsilon: float, rng: np.random.Generator) -> None:
        self.index, self.epsilon, self.rng = dict(index), epsilon, rng
        self.search = str(rng.choice(["left", "right"]))
        self.name = f"aim-{epsilon:.2f}"

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """Towards the nearest monster, or at it."""
        if self.rng.random() < self.epsilon:
            return int(self.rng.integers(len(self.index)))
        place = self.find(frame)
        if place is not None:
            if abs(place) <= self.AIMED:
                return self.index["attack"]
            self.search = "left" if place < 0 else "right"
        return self.index[self.search]

    @classmethod
    def find(cls, frame: np.ndarray) -> float | None:
        """How far right of the middle the nearest monster stands, -0.5 to 0.5; None without one."""
        height, width = frame.shape[:2]
        red, green, blue = np.moveaxis(frame.astype(int), -1, 0)
        shown = (red - green > cls.RED) & (abs(green - blue) < cls.HUE)
        shown[round(cls.AIR * height) :] = False
        top, bottom = (round(edge * height) for edge in cls.WALL)
        grey = (red - green < cls.GREY) & (red < cls.LIGHT)
        shown[top:bottom] |= grey[top:bottom]
        heights = shown.sum(axis=0)
        if heights.max() < cls.LEAST:
            return None
        return middle_of_tallest(heights) / width - 0.5


def middle_of_tallest(heights: np.ndarray) -> float:
    """Where the nearest monster stands, in pixels from the left edge.

    The tallest is the nearest; all columns of that height are its middle.

    Args:
        heights: int (W,), pixels of each column that are a monster.
    """
    return float(np.flatnonzero(heights == heights.max()).mean()) + 0.5
