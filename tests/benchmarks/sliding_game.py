"""The sliding game as a real environment, which plays recorded episodes again.

With equal seeds and actions it gives the episodes of :func:`tests.benchmarks.sliding.record`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tests.benchmarks.sliding import MOVES, PLACES, PRIZE, SHAPE, SPEC, SlidingWorld, draw

LENGTH = 24
NAME = "tests.benchmarks.sliding_game:SlidingGame"


class SlidingGame(gym.Env):
    """One episode after another; the last one of each has no picture."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, SHAPE, np.uint8)
        self.action_space = spaces.Discrete(3)
        self.action_spec = SPEC

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.place = self.first_place(seed)
        self.steps = 0
        return self._frame(), {}

    def first_place(self, seed: int | None) -> int:
        return int(np.random.default_rng([0, seed or 0]).integers(PLACES - 1))

    def step(self, action: int):
        ended = self.place == PLACES - 1 and action == 1
        before = self.place
        self.place = int(np.clip(before + int(MOVES[int(action)]), 0, PLACES - 1))
        self.steps += 1
        cut = self.steps >= LENGTH and not ended
        reward = float(self.place == PRIZE and before != PRIZE)
        return self._frame(), reward, ended, cut, {"frame_missing": ended or cut}

    def _frame(self) -> np.ndarray:
        return draw(np.array([self.place]))[0][0]


class OtherGame(SlidingGame):
    """Another version of it: episodes begin elsewhere."""

    def first_place(self, seed: int | None) -> int:
        return (super().first_place(seed) + 1) % (PLACES - 1)


def world(fault: str = "none", game: str = NAME, **options: Any) -> SlidingWorld:
    """The game imagined, by a world that says where the real one is."""
    made = SlidingWorld(fault, **options)
    made.config = replace(made.config, source={"environment": game}, max_episode_steps=LENGTH)
    return made
