"""A game for collectors: a counter on the screen, and every way in which an episode can end."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from agents.collecting.behaviour import BehaviourPolicy, Sticky
from world_model.action_spec import ActionSpec
from world_model.data.metadata import DatasetInfo

INFO = DatasetInfo(
    action_spec=ActionSpec.from_space(spaces.Discrete(3), names=["stay", "right", "left"]),
    frame_shape=(4, 4, 3),
    fps=5.0,
    state_names=("time",),
    label_classes={0: "background", 1: "thing"},
    source={"preset": "fake"},
)


class FakeGame(gym.Env[np.ndarray, Any]):
    """Pixel (0, 0) is (time + 1, action that led here, 9); episodes last 3 to 9 steps.

    By its seed an episode ends with a death without a frame (a black one is returned, as ViZDoom
    does), a time-out with a frame, or a time-out that is reported as a death too.
    """

    observation_space = spaces.Box(0, 255, INFO.frame_shape, np.uint8)
    action_space = spaces.Discrete(3)

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.time, self.last = 0, 0
        self.duration = int(self.np_random.integers(3, 10))
        self.ending = int(self.np_random.integers(3))
        return self._frame(), self._info(False)

    def step(self, action: Any):
        time.sleep(self.delay)
        self.time, self.last = self.time + 1, int(action)
        over = self.time == self.duration
        missing = over and self.ending == 0
        frame = np.zeros_like(self._frame()) if missing else self._frame()
        terminated = over and self.ending in (0, 2)
        truncated = over and self.ending in (1, 2)
        return frame, float(self.time), terminated, truncated, self._info(missing)

    def close(self) -> None:
        self.closed = True

    def _frame(self) -> np.ndarray:
        frame = np.full(INFO.frame_shape, 50, np.uint8)
        frame[0, 0] = (self.time + 1, self.last, 9)
        return frame

    def _info(self, missing: bool) -> dict[str, Any]:
        state = np.array([self.time], np.float32)
        labels = np.full((4, 4), self.time % 2, np.uint8)
        return {"state": state, "labels": labels, "frame_missing": missing}


class BrokenGame(FakeGame):
    """Fails in the step after ``last``: in every episode that is longer."""

    def __init__(self, last: int = 5) -> None:
        super().__init__()
        self.last_time = last

    def step(self, action: Any):
        if self.time == self.last_time:
            raise RuntimeError("the game crashed")
        return super().step(action)


def draw_player(rng: np.random.Generator) -> BehaviourPolicy:
    """A uniformly random player."""
    return Sticky(3, 0.0, rng)
