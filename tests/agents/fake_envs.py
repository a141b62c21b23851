"""Small environments with all kinds of pictures and actions; those that fail are in fake_game."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec

DICT_ACTIONS = spaces.Dict(
    {
        "keys": spaces.MultiBinary(2),
        "mouse": spaces.Box(-1, 1, (2,), np.float32),
        "item": spaces.Discrete(3, start=1),
    }
)


class Clock(gym.Env[Any, Any]):
    """Shows a picture that is as bright as many raw steps have passed; reward 1 a raw step.

    Args:
        observation_space: what it observes; None: 12x16 colour pictures.
        action_space: what it takes.
        duration: raw steps until it terminates; None: never.
        lives: raw steps after which a life is lost.
        render_mode: ``rgb_array`` or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    actions_taken: list[Any]

    def __init__(
        self,
        observation_space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
        duration: int | None = None,
        lives: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = observation_space or spaces.Box(0, 255, (12, 16, 3), np.uint8)
        self.action_space = action_space or spaces.Discrete(3)
        self.duration, self.lives, self.render_mode = duration, lives, render_mode
        self.closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.time, self.actions_taken = 0, []
        return self._observe(self.observation_space), self._info()

    def step(self, action: Any):
        ActionSpec.from_space(self.action_space).encode(action)
        self.time += 1
        self.actions_taken.append(action)
        return (
            self._observe(self.observation_space),
            1.0,
            self.time == self.duration,
            False,
            (self._info()),
        )

    def render(self) -> np.ndarray:
        """Left half dark, right half as bright as the time."""
        picture = np.zeros((20, 40, 3), np.uint8)
        picture[:, 20:] = self.time
        return picture

    def close(self) -> None:
        self.closed = True

    def _info(self) -> dict[str, Any]:
        return {} if self.lives is None else {"lives": 3 - self.time // self.lives}

    def _observe(self, space: spaces.Space[Any]) -> Any:
        if isinstance(space, spaces.Dict):
            return {name: self._observe(sub) for name, sub in space.spaces.items()}
        unit = space.dtype != np.uint8 and float(space.high.max()) == 1
        return np.full(space.shape, self.time / 255 if unit else self.time, space.dtype)


class Flicker(Clock):
    """Draws its thing at every other raw step only."""

    def _observe(self, space: spaces.Space[Any]) -> Any:
        return np.full(space.shape, 200 * (self.time % 2), space.dtype)


class Named(Clock):
    """Says what its actions are called, as the Arcade Learning Environment does."""

    def get_action_meanings(self) -> list[str]:
        return ["NOOP", "FIRE", "UP"]


class Blind(Clock):
    """Neither shows nor draws anything."""

    metadata = {"render_modes": []}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(spaces.Box(-np.inf, np.inf, (3,), np.float32))


def make_clock() -> Clock:
    """Short episodes of colour pictures."""
    return Clock(duration=6)


def make_keyboard() -> Clock:
    """Keys, a mouse and a choice."""
    return Clock(action_space=DICT_ACTIONS, duration=6)


def make_unbounded() -> Clock:
    """A mouse without bounds."""
    return Clock(action_space=spaces.Box(-np.inf, np.inf, (2,), np.float32), duration=6)


def sweep_player(rng: np.random.Generator) -> Any:
    """A player of one's own: counts through the actions."""
    steps = iter(range(1000))
    return lambda frame, info: next(steps) % 3


def no_environment() -> int:
    """A function that makes something else."""
    return 3


gym.register("NFDTestClock-v0", entry_point=Clock, max_episode_steps=9)
gym.register("NFDTestBlind-v0", entry_point=Blind)
