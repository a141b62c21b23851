"""ViZDoom's scenarios with ground truth beside their frames: state variables and object labels.

One environment serves recording, the evaluation of agents and the measurement of fidelity, so
that all three see the same pixels. Which scenarios there are: :mod:`agents.presets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from agents.games import frame_missing, make_game, register
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, NFDError


@dataclass(frozen=True)
class RealEnvPreset:
    """A real environment and the preprocessing that turns its screen into a world's frames."""

    name: str
    """Name of the preset, and of the world that is learned from it."""
    env_id: str
    """Gymnasium id of the real environment."""
    screen_resolution: str
    """ViZDoom's name of the resolution the game is rendered at."""
    crop: tuple[int, int, int, int]
    """Top, bottom, left and right edge of the part of the screen that is kept, in pixels."""
    reduce: tuple[int, int]
    """Rows and columns of the screen that are averaged into one pixel of a frame."""
    frame_skip: int
    """Game tics per step; the action is held for all of them."""
    fps: float
    """Steps per second of game time."""
    max_episode_steps: int
    """An episode is truncated after so many steps."""
    action_names: tuple[str, ...]
    """What the actions 0, 1, ... do."""
    reward_meaning: str
    """What the reward of one step counts."""
    state_variables: tuple[str, ...] = ()
    """ViZDoom game variables in ``info["state"]``, in this order."""
    label_classes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """ViZDoom object name -> (class in ``info["labels"]``, name of the class)."""

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        top, bottom, left, right = self.crop
        return (bottom - top) // self.reduce[0], (right - left) // self.reduce[1], 3

    @property
    def class_names(self) -> dict[int, str]:
        """Name of every class in ``info["labels"]``; 0 is the background."""
        return {0: "background", **{index: name for index, name in self.label_classes.values()}}

    @property
    def action_spec(self) -> ActionSpec:
        """The named actions."""
        return ActionSpec.from_space(
            spaces.Discrete(len(self.action_names)), names=self.action_names
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, stored with recordings and worlds as their ``source``."""
        return {
            "preset": self.name,
            "environment": self.env_id,
            "frame_skip": self.frame_skip,
            "max_episode_steps": self.max_episode_steps,
            "reward": self.reward_meaning,
            "preprocessing": {
                "screen_resolution": self.screen_resolution,
                "crop_top_bottom_left_right": list(self.crop),
                "area_average_rows_columns": list(self.reduce),
                "frame_shape": list(self.frame_shape),
            },
        }


class RealEnv(gym.Env[np.ndarray, Any]):
    """A ViZDoom scenario as a plain Gymnasium environment with small frames.

    Observations are uint8 (H, W, 3). ``info`` of every ``reset`` and ``step`` carries

    * ``state``: float32 (S,), the preset's state variables;
    * ``labels``: uint8 (H, W), the class of each pixel, if asked for. A frame's pixel takes the
      highest class that it covers, so the smallest fireball is still marked;
    * ``frame_missing``: True where the game ended before it drew a picture. ViZDoom then reports
      a black one; here the last real frame, state and labels are repeated instead.

    ViZDoom reports a time-out as terminated *and* truncated; here that is truncated only.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 9}
    steps_in_threads = True
    """The game is a process of its own."""

    def __init__(
        self, preset: RealEnvPreset, seed: int | None = None, *, labels: bool = True
    ) -> None:
        self.preset = preset
        self.action_spec = preset.action_spec
        self.render_mode = "rgb_array"
        self.observation_space = spaces.Box(0, 255, preset.frame_shape, np.uint8)
        self._labels_wanted = labels and bool(preset.label_classes)
        self._game_env = _make_vizdoom(preset, self._labels_wanted)
        self._game: Any = self._game_env.unwrapped
        self.action_space = self._game_env.action_space
        if self.action_space != preset.action_spec.space:
            raise NFDError(
                f"{preset.env_id} has the actions {self.action_space}, but the preset "
                f"{preset.name!r} names {preset.action_names}. Install the version of ViZDoom "
                "that the 'doom' extra asks for."
            )
        self._first_seed = seed
        self._steps = 0
        self._frame = np.zeros(preset.frame_shape, np.uint8)
        self._labels = np.zeros(preset.frame_shape[:2], np.uint8)
        self._state = np.zeros(len(preset.state_variables), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; the same seed and actions give the same episode."""
        if seed is None:
            seed, self._first_seed = self._first_seed, None
        super().reset(seed=seed)
        observation, _ = self._game_env.reset(seed=seed, options=options)
        self._steps = 0
        self._look(observation)
        return self._frame.copy(), self._info(frame_missing=False)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Holds ``action`` for ``frame_skip`` tics.

        Raises:
            ActionError: if the action is outside the action space.
        """
        if not self.action_space.contains(action):
            raise ActionError(f"action {action!r} is outside {self.action_space}.")
        observation, reward, terminated, truncated, _ = self._game_env.step(action)
        # Without a state there was nothing to draw: the observation is a stand-in.
        missing = frame_missing(self._game_env)
        if not missing:
            self._look(observation)
        self._steps += 1
        terminated = bool(terminated) and not truncated
        truncated = bool(truncated) or (
            self._steps >= self.preset.max_episode_steps and not terminated
        )
        return self._frame.copy(), float(reward), terminated, truncated, self._info(missing)

    def render(self) -> np.ndarray:
        """The current frame."""
        return self._frame.copy()

    def close(self) -> None:
        """Ends the game's process."""
        self._game_env.close()

    def _info(self, frame_missing: bool) -> dict[str, Any]:
        info: dict[str, Any] = {"state": self._state.copy(), "frame_missing": frame_missing}
        if self._labels_wanted:
            info["labels"] = self._labels.copy()
        return info

    def _look(self, observation: Mapping[str, np.ndarray]) -> None:
        """Takes frame, state and labels from what the game shows now."""
        self._frame = area_average(observation["screen"], self.preset.crop, self.preset.reduce)
        if self.preset.state_variables:
            self._state = np.asarray(observation["gamevariables"], np.float32)
        if self._labels_wanted:
            classes = np.zeros(256, np.uint8)
            for label in self._game.state.labels:
                index, _ = self.preset.label_classes.get(label.object_name, (0, ""))
                classes[label.value] = index
            pixels = classes[observation["labels"][..., 0]]
            self._labels = max_pool(pixels, self.preset.crop, self.preset.reduce)


def area_average(
    screen: np.ndarray, crop: tuple[int, int, int, int], reduce: tuple[int, int]
) -> np.ndarray:
    """Crops uint8 (H, W, 3) and averages blocks of ``reduce`` pixels, rounded to uint8."""
    from PIL import Image

    top, bottom, left, right = crop
    image = Image.fromarray(np.ascontiguousarray(screen[top:bottom, left:right]))
    return np.asarray(image.reduce((reduce[1], reduce[0])))


def max_pool(
    classes: np.ndarray, crop: tuple[int, int, int, int], reduce: tuple[int, int]
) -> np.ndarray:
    """Crops uint8 (H, W) and takes the highest class of each block of ``reduce`` pixels."""
    top, bottom, left, right = crop
    rows, columns = reduce
    part = classes[top:bottom, left:right]
    # Whole rows first, then columns: much faster than one maximum over both axes.
    tall = np.maximum.reduce([part[i::rows] for i in range(rows)])
    return np.maximum.reduce([tall[:, i::columns] for i in range(columns)])


def _make_vizdoom(preset: RealEnvPreset, labels: bool) -> gym.Env[Any, Any]:
    register(preset.env_id)
    import vizdoom

    variables = [getattr(vizdoom.GameVariable, name) for name in preset.state_variables]
    settings = {
        "frame_skip": preset.frame_skip,
        "screen_resolution": preset.screen_resolution,
        "labels_buffer_enabled": labels,
        "available_game_variables": variables,
    }
    return make_game(preset.env_id, settings)
