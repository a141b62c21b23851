"""A player of Crafter that sees the land, for recordings and as a policy.

Blind players of Crafter seldom meet what they could use; this one walks to trees, water, stone and
cows, uses them, and makes tools. It earns in an imagined game what the land in it is worth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

FORAGE_ACTIONS = frozenset(
    (
        "noop",
        "move_left",
        "move_right",
        "move_up",
        "move_down",
        "do",
        "sleep",
        "place_stone",
        "place_table",
        "place_furnace",
        "place_plant",
        "make_wood_pickaxe",
        "make_stone_pickaxe",
        "make_iron_pickaxe",
        "make_wood_sword",
        "make_stone_sword",
        "make_iron_sword",
    )
)
"""Names of the actions of the game that it knows."""

COLUMNS, ROWS = 9, 7
"""Tiles of the land in view; below them are two rows of what the player has."""
COLOURS = {
    "grass": (21, 161, 11),
    "sand": (214, 199, 128),
    "path": (128, 108, 72),
    "water": (41, 117, 196),
    "tree": (37, 99, 18),
    "stone": (126, 126, 126),
    "cow": (70, 100, 48),
    "lava": (247, 115, 14),
    "other": (75, 62, 55),
}
"""Mean colours of tiles by day."""
WALKABLE = frozenset(("grass", "sand", "path"))
MOVES = {"move_up": (-1, 0), "move_down": (1, 0), "move_left": (0, -1), "move_right": (0, 1)}

MAKE = ("place_table", "make_wood_pickaxe", "make_wood_sword")
GOALS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("tree", 6, MAKE),
    ("grass", 5, ("place_plant",)),
    ("water", 3, ()),
    ("cow", 7, ()),
    ("stone", 3, ("place_stone", "make_stone_pickaxe", "make_stone_sword")),
)
"""What to walk to, how often to use it, and what to try afterwards."""
PATIENCE = 25
"""Steps after which another goal is tried."""


def _shades() -> tuple[np.ndarray, np.ndarray]:
    """Colours of the tiles in the light of day, morning and evening: (K, 3), and their names."""
    day = np.array(list(COLOURS.values()), np.float32)
    grey = day @ np.array([0.299, 0.587, 0.114], np.float32)
    night = 0.5 * (0.4 * day + 0.6 * grey[:, None]) + 0.5 * np.array([0, 16, 64], np.float32)
    shades = [light * day + (1 - light) * night for light in (1.0, 0.85, 0.7, 0.55)]
    return np.concatenate(shades), np.tile(np.array(list(COLOURS)), len(shades))


SHADES, SHADE_NAMES = _shades()


class Forage:
    """Walks to what can be used in Crafter and uses it, by what the frame shows.

    A share ``epsilon`` of its actions is random.

    Args:
        index: numbers of the game's actions, by name.
        epsilon: share of random actions.
        rng: the dice.
    """

    def __init__(self, index: Mapping[str, int], epsilon: float, rng: np.random.Generator) -> None:
        self.index, self.epsilon, self.rng = dict(index), epsilon, rng
        self.goal, self.left, self.waited = 0, GOALS[0][1], 0
        self.heading = str(rng.choice(list(MOVES)))
        self.todo: deque[str] = deque()
        self.seen: np.ndarray | None = None
        self.name = f"forage-{epsilon:.2f}"

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """Towards what is looked for; uses it where it is next to the player."""
        if self.rng.random() < self.epsilon:
            return int(self.rng.integers(len(self.index)))
        if not self.todo:
            self._plan(tiles(frame))
        return self.index[self.todo.popleft()]

    def _plan(self, land: np.ndarray) -> None:
        self.waited += 1
        if self.left <= 0 or self.waited > PATIENCE:
            if self.left <= 0:  # turned to free ground, things can be put down
                for name in GOALS[self.goal][2]:
                    self.todo.extend([self._aside(land), name])
            self.goal = int(self.rng.integers(len(GOALS)))
            self.left, self.waited = GOALS[self.goal][1], 0
            if self.todo:
                return
        way, near = route(land, GOALS[self.goal][0])
        stuck = self.seen is not None and bool((self.seen == land).all())
        if near and way is not None:  # who cannot walk there turns to it
            self.left -= 1
            self.todo.extend([way, "do"])
        elif way is not None and not stuck:
            self.todo.append(way)
        else:
            if stuck or self.rng.random() < 0.1:
                self.heading = self._aside(land)
            self.todo.append(self.heading)
        self.seen = land

    def _aside(self, land: np.ndarray) -> str:
        """A way that is free, if there is one."""
        row, column = ROWS // 2, COLUMNS // 2
        free = [m for m, (y, x) in MOVES.items() if land[row + y, column + x] in WALKABLE]
        return str(self.rng.choice(free or list(MOVES)))


def tiles(frame: np.ndarray) -> np.ndarray:
    """What each tile of the land shows, str (7, 9), from a frame uint8 (H, W, 3)."""
    height, width = frame.shape[0] // COLUMNS, frame.shape[1] // COLUMNS
    land = frame[: ROWS * height, : COLUMNS * width].astype(np.float32)
    means = land.reshape(ROWS, height, COLUMNS, width, 3).mean(axis=(1, 3))
    distance = np.square(means[:, :, None] - SHADES).sum(axis=-1)
    return SHADE_NAMES[distance.argmin(axis=-1)]


def route(land: np.ndarray, kind: str) -> tuple[str | None, bool]:
    """The first move of a shortest way to a tile of that kind, and whether it is the next tile.

    Args:
        land: as :func:`tiles`.
        kind: what to walk to.

    Returns:
        The name of the move, None where nothing of the kind can be reached, and whether what is
        looked for lies next to the player.
    """
    start = (ROWS // 2, COLUMNS // 2)
    queue: deque[tuple[tuple[int, int], str | None]] = deque([(start, None)])
    visited = {start}
    while queue:
        (row, column), first = queue.popleft()
        for move, (y, x) in MOVES.items():
            place = (row + y, column + x)
            if place in visited or not (0 <= place[0] < ROWS and 0 <= place[1] < COLUMNS):
                continue
            visited.add(place)
            if land[place] == kind:
                return first or move, first is None
            if land[place] in WALKABLE:
                queue.append((place, first or move))
    return None, False
