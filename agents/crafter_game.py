"""Crafter as a Gymnasium environment, registered as ``Crafter-v1``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import crafter
import gymnasium as gym
import numpy as np
from gymnasium import spaces

LENGTH = 10_000
"""Steps after which an episode is cut off."""


class OrderedCrafter(crafter.Env):
    """Crafter whose worlds follow from their seed alone.

    It keeps the creatures of a region in a set, in the order of their addresses, and draws one of
    them by its place there: of the same seed, another creature would vanish each time.
    """

    def _balance_chunk(self, chunk: Any, objs: Any) -> None:
        # Sets of a few creatures, lists of all objects: those of the region, as they came.
        super()._balance_chunk(chunk, [obj for obj in self._world.objects if obj in objs])


class CrafterGame(gym.Env[np.ndarray, Any]):
    """Crafter (Hafner 2021) with Gymnasium's five results, and seeds given to ``reset``.

    Its own ``Env`` takes a seed when it is made, and counts episodes from there: here every
    episode is played in a new one, so that it depends on its seed alone.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None, size: Sequence[int] = (64, 64)) -> None:
        self.render_mode = render_mode
        height, width = size
        # Crafter says width first.
        self._options: dict[str, Any] = {"size": (width, height), "length": LENGTH}
        self._game: Any = OrderedCrafter(**self._options, seed=0)
        self.action_names = list(self._game.action_names)
        self.observation_space = spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.action_space = spaces.Discrete(len(self.action_names))
        self._frame: np.ndarray = np.zeros(self.observation_space.shape, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in a new world."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31))
        self._game = OrderedCrafter(**self._options, seed=drawn)
        self._frame = self._game.reset()
        return self._frame.copy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; death terminates, the end of the time truncates."""
        self._frame, reward, over, info = self._game.step(int(action))
        died = bool(over) and info["discount"] == 0
        return self._frame.copy(), float(reward), died, bool(over) and not died, {}

    def render(self) -> np.ndarray:
        """The current view: the last observation."""
        # Crafter draws the noise of its nights from the generator that drives the game, so that to
        # look once more would change what happens next.
        return self._frame.copy()


if "Crafter-v1" not in gym.registry:
    gym.register("Crafter-v1", entry_point="agents.crafter_game:CrafterGame")
