"""The sliding game to play for real, beside worlds that imagine it: who exploits what is known."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from nfd_env.seeding import draw_index, episode_seed
from tests.benchmarks import sliding

LIMIT = 12
"""Steps of an episode."""


class SlidingGame(gym.Env[np.ndarray, Any]):
    """The game itself; an episode starts where the world's of the same seed does."""

    observation_space = spaces.Box(0, 255, sliding.SHAPE, np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place = draw_index(episode_seed(0 if seed is None else seed, 0), 5)
        self.steps = 0
        return self._frame(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        before, self.steps = self.place, self.steps + 1
        move = int(sliding.MOVES[int(action)])
        ended = before == sliding.PLACES - 1 and move == 1
        self.place = int(np.clip(before + move, 0, sliding.PLACES - 1))
        reward = float(self.place == sliding.PRIZE and before != sliding.PRIZE)
        return self._frame(), reward, ended, self.steps >= LIMIT, {}

    def _frame(self) -> np.ndarray:
        return sliding.draw(np.array([self.place]))[0][0]


def make() -> SlidingGame:
    """``module:function`` of the source of worlds."""
    return SlidingGame()
