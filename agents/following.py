"""A player of Breakout that sees the ball, for recordings and as a policy.

Blind policies earn little, in a true world and in a false one; this one earns in an imagined game
what the ball in it is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

FOLLOW_ACTIONS = frozenset(("noop", "fire", "right", "left"))
"""Names of the actions of the game that it knows."""


class Follow:
    """Keeps Breakout's paddle under the ball, by what the frame shows.

    It aims to hit the ball a little off the paddle's middle, each time elsewhere, so that it flies
    everywhere. A share ``epsilon`` of its actions is random.

    Args:
        index: numbers of the actions ``noop``, ``fire``, ``left`` and ``right``.
        epsilon: share of random actions.
        rng: the dice.
    """

    # Shares of the frame that the recipe's crop shows: below the bricks, above the paddle, between
    # the walls; and the paddle.
    AIR = (0.48, 0.955, 0.07, 0.94)
    PADDLE = (0.97, 1.0, 0.07, 0.94)

    def __init__(self, index: Mapping[str, int], epsilon: float, rng: np.random.Generator) -> None:
        self.index, self.epsilon, self.rng = dict(index), epsilon, rng
        self.offset, self.height = 0.0, 0.0
        self.name = f"follow-{epsilon:.2f}"

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """Towards the ball; serves where there is none."""
        if self.rng.random() < self.epsilon:
            return int(self.rng.integers(len(self.index)))
        ball, paddle = self._find(frame, self.AIR), self._find(frame, self.PADDLE)
        if ball is None:  # lost, or among the bricks
            return self.index["fire" if self.rng.random() < 0.3 else "noop"]
        if ball[0] < self.height:  # on its way up: aim anew
            self.offset = float(self.rng.uniform(-0.035, 0.035))
        self.height = ball[0]
        away = ball[1] + self.offset - (0.5 if paddle is None else paddle[1])
        if abs(away) < 0.02:
            return self.index["noop"]
        return self.index["left" if away < 0 else "right"]

    @staticmethod
    def _find(frame: np.ndarray, part: tuple[float, float, float, float]) -> list[float] | None:
        """Row and column, in shares of the frame, of the red object in a part of it."""
        height, width = frame.shape[:2]
        top, bottom = round(part[0] * height), round(part[1] * height)
        left, right = round(part[2] * width), round(part[3] * width)
        cut = frame[top:bottom, left:right].astype(np.float32)
        red = np.maximum(cut[..., 0] - cut[..., 2] - 20, 0)
        if not red.any():
            return None
        rows, columns = np.indices(red.shape)
        return [
            float(((rows + 0.5) * red).sum() / red.sum() + top) / height,
            float(((columns + 0.5) * red).sum() / red.sum() + left) / width,
        ]
