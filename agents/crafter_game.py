"""Crafter as a Gymnasium environment, registered as ``Crafter-v1``."""

from __future__ import annotations

from typing import Any

import crafter
import gymnasium as gym
import numpy as np
from gymnasium import spaces

LENGTH = 10_000
"""Steps after which an episode is cut off."""


class CrafterGame(gym.Env[np.ndarray, Any]):
    """Crafter (Hafner 2021) with Gymnasium's five results, and seeds given to ``reset``.

    Its own ``Env`` takes a seed when it is made, and counts episodes from there: here every
    episode is played in a new one, so that it depends on its seed alone.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._game: Any = crafter.Env(length=LENGTH, seed=0)
        self.action_names = list(self._game.action_names)
        self.observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = spaces.Discrete(len(self.action_names))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in a new world."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31))
        self._game = crafter.Env(length=LENGTH, seed=drawn)
        return self._game.reset(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; death terminates, the end of the time truncates."""
        frame, reward, over, info = self._game.step(int(action))
        died = bool(over) and info["discount"] == 0
        return frame, float(reward), died, bool(over) and not died, {}

    def render(self) -> np.ndarray:
        """The current view."""
        return self._game.render()


if "Crafter-v1" not in gym.registry:
    gym.register("Crafter-v1", entry_point="agents.crafter_game:CrafterGame")
