"""Players that know a game's rules: they show what blind ones never live to see.

Blind players of Breakout seldom hit the ball twice, and those of Defend the Center hardly ever
hit a monster: a world learned from them alone could not be true where a good agent goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.collecting.behaviour import BehaviourPolicy

SHARE = 0.35
"""Of the episodes of a mix, in games that somebody here can play."""

SKILLS: dict[frozenset[str], str] = {
    frozenset(("stay", "attack", "right", "left")): "hunt",
    frozenset(("noop", "fire", "right", "left")): "follow",
}
"""Which of the players below knows a game, by the names of its actions."""


def skill_for(action_names: Sequence[str], target: int | None) -> str | None:
    """The kind of player that knows the game with these actions, if there is one.

    Args:
        action_names: names of the actions.
        target: class of the objects to aim at in ``info["labels"]``, or None if there is none.
    """
    kind = SKILLS.get(frozenset(action_names))
    return None if kind == "hunt" and target is None else kind


def draw_skilled(
    kind: str, action_names: Sequence[str], target: int | None, rng: np.random.Generator
) -> BehaviourPolicy:
    """A player of that kind, more or less careful as ``rng`` has it."""
    index = {name: number for number, name in enumerate(action_names)}
    epsilon = float(rng.choice([0.02, 0.1, 0.3, 0.5]))
    if kind == "hunt":
        assert target is not None
        return Hunt(index, target, epsilon, rng)
    return Follow(index, epsilon, rng)


class Hunt:
    """Turns to the nearest object of a class, by the game's own labels, and attacks it.

    Turns on the spot while it sees none. A share ``epsilon`` of its actions is random.

    Args:
        index: numbers of the actions ``attack``, ``left`` and ``right``.
        target: class of the objects in ``info["labels"]``.
        epsilon: share of random actions.
        rng: the dice.
    """

    def __init__(
        self, index: Mapping[str, int], target: int, epsilon: float, rng: np.random.Generator
    ) -> None:
        self.index, self.target, self.epsilon, self.rng = dict(index), target, epsilon, rng
        self.search = str(rng.choice(["left", "right"]))
        # Some wait until a monster is close, and so show them close.
        self.near = int(rng.choice([1, 2, 4, 8]))
        self.name = f"hunt-{epsilon:.2f}"

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """Towards the nearest target, or at it."""
        if self.rng.random() < self.epsilon:
            return int(self.rng.integers(len(self.index)))
        heights = (info["labels"] == self.target).sum(axis=0)
        if heights.max() < self.near:
            return self.index[self.search]
        # The tallest is the nearest; all columns of that height are its middle.
        column, middle = float(np.flatnonzero(heights == heights.max()).mean()), len(heights) / 2
        if abs(column + 0.5 - middle) <= 2:
            return self.index["attack"]
        self.search = "left" if column + 0.5 < middle else "right"
        return self.index[self.search]


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
