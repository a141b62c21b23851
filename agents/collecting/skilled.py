"""Players that know a game's rules: they show what blind ones never live to see.

Blind players of Breakout seldom hit the ball twice, those of Defend the Center hardly ever hit a
monster, and those of Crafter have nothing to make tools of: a world learned from them alone could
not be true where a good agent goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.aiming import AIM_ACTIONS, middle_of_tallest
from agents.collecting.behaviour import BehaviourPolicy
from agents.seeing import SEEING

SHARE = 0.35
"""Of the episodes of a mix, in games that somebody here can play."""

SKILLS: dict[frozenset[str], str] = {
    **{actions: kind for kind, (actions, _) in SEEING.items()},
    AIM_ACTIONS: "hunt",  # the game's own labels are surer than any look
}
"""Which player knows a game, by the names of its actions."""


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
    return SEEING[kind][1](index, epsilon, rng)


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
        away = middle_of_tallest(heights) - len(heights) / 2
        if abs(away) <= 2:
            return self.index["attack"]
        self.search = "left" if away < 0 else "right"
        return self.index[self.search]
