"""Scripted policies that look: the players of a game, as policies of several streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from agents.aiming import AIM_ACTIONS, Aim
from agents.following import FOLLOW_ACTIONS, Follow
from agents.foraging import FORAGE_ACTIONS, Forage


class Player(Protocol):
    """Plays one episode of a game that it knows, by what it sees."""

    name: str
    """Short name for recordings."""

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """The number of an action, from 0, for a frame uint8 (H, W, 3)."""
        ...


PlayerMaker = Callable[[Mapping[str, int], float, np.random.Generator], Player]
"""Makes a player from the numbers of the actions by name, the share of random actions, and the
dice."""

SEEING: dict[str, tuple[frozenset[str], PlayerMaker]] = {
    "aim": (AIM_ACTIONS, Aim),
    "follow": (FOLLOW_ACTIONS, Follow),
    "forage": (FORAGE_ACTIONS, Forage),
}
"""Players that see a game they know: the names of its actions, and what makes one."""


@dataclass(frozen=True)
class SeeingPolicy:
    """Plays a game that it knows by the frames alone, but for some random actions."""

    name: str
    """Short name for tables."""
    player: PlayerMaker
    """Who plays each stream."""
    index: Mapping[str, int]
    """Numbers of the actions, from 0, by name."""
    epsilon: float
    """Share of random actions, in [0, 1]."""
    first: int = 0
    """The space's first action."""

    def begin(self, seeds: Sequence[int]) -> list[Player]:
        """State of ``len(seeds)`` streams that start an episode: a player for each."""
        return [self._player(seed) for seed in seeds]

    def restart(self, state: list[Player], stream: int, seed: int) -> None:
        """Makes one stream start a new episode, in place."""
        state[stream] = self._player(seed)

    def act(self, observations: np.ndarray, state: list[Player]) -> np.ndarray:
        """One action a stream, int64 (B,), from frames uint8 (B, H, W, 3)."""
        if len(observations) != len(state):
            raise ValueError(
                f"{len(observations)} observations for a state of {len(state)} streams."
            )
        chosen = [player.act(frame, {}) for player, frame in zip(state, observations, strict=True)]
        return np.array(chosen, np.int64) + self.first

    def _player(self, seed: int) -> Player:
        return self.player(self.index, self.epsilon, np.random.default_rng(seed))
