"""Real environments: the presets that worlds are learned from, and agents return to.

One environment serves recording, the evaluation of agents and the measurement of fidelity, so
that all three see the same pixels.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, NFDError, WorldNotFoundError


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


# The whole width is kept (90 degrees: fireballs come from the sides), but only the middle two
# thirds of the height: above and below is bare ceiling and floor. A distant fireball is one to
# two pixels wide, so the picture is rendered large and averaged in whole pixels, which keeps
# such a fireball visible and steady where nearest-neighbour sampling would make it flicker.
# ViZDoom orders the combinations of its buttons as binary numbers, hence right before left.
DOOM_TAKE_COVER = RealEnvPreset(
    name="doom-take-cover",
    env_id="VizdoomTakeCover-v1",
    screen_resolution="RES_256X192",
    crop=(32, 160, 0, 256),
    reduce=(2, 4),
    frame_skip=4,
    fps=35 / 4,
    max_episode_steps=525,
    action_names=("stay", "right", "left"),
    reward_meaning="game tics survived (35 per second)",
    state_variables=(
        "HEALTH",
        "POSITION_X",
        "POSITION_Y",
        "ANGLE",
        "VELOCITY_X",
        "VELOCITY_Y",
    ),
    label_classes={"DoomImp": (1, "monster"), "DoomImpBall": (2, "fireball")},
)

PRESETS: dict[str, RealEnvPreset] = {DOOM_TAKE_COVER.name: DOOM_TAKE_COVER}


def get_preset(name: str) -> RealEnvPreset:
    """The preset called ``name``.

    Raises:
        WorldNotFoundError: if there is none.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise WorldNotFoundError(
            f"no real environment is called {name!r}. There is: {', '.join(sorted(PRESETS))}."
        ) from None


def make_real_env(
    preset: RealEnvPreset | str, seed: int | None = None, *, labels: bool = True
) -> RealEnv:
    """Makes the real environment of ``preset``.

    Args:
        preset: a preset or the name of one.
        seed: seed of the first ``reset()`` that is given none.
        labels: whether ``info["labels"]`` is filled (costs a second picture per step).

    Raises:
        WorldNotFoundError: if no preset has the given name.
        NFDError: if ViZDoom is not installed.
    """
    return RealEnv(get_preset(preset) if isinstance(preset, str) else preset, seed, labels=labels)


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

    def __init__(
        self, preset: RealEnvPreset, seed: int | None = None, *, labels: bool = True
    ) -> None:
        self.preset = preset
        self.action_spec = preset.action_spec
        self.render_mode = "rgb_array"
        self.observation_space = spaces.Box(0, 255, preset.frame_shape, np.uint8)
        self._labels_wanted = labels and bool(preset.label_classes)
        # The game keeps its settings in a file, and more in a folder where it is started. A folder
        # of its own makes every game start from the same settings, whatever else is running.
        self._folder = tempfile.TemporaryDirectory(prefix="nfd-doom-")
        config = os.path.join(self._folder.name, "vizdoom.ini")
        self._game_env = _make_vizdoom(preset, self._labels_wanted, config)
        game: Any = self._game_env.unwrapped
        self._game = game
        # Started here, not at the first reset: games are made one after the other, but may be reset
        # by several threads, and the working folder is the whole process's.
        with chdir(self._folder.name):
            game.game.init()
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
        missing = self._game.state is None
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
        self._folder.cleanup()

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


def _make_vizdoom(preset: RealEnvPreset, labels: bool, config_path: str) -> gym.Env[Any, Any]:
    try:
        import vizdoom
        import vizdoom.gymnasium_wrapper  # registers the ids
    except ImportError as error:
        raise NFDError(
            f"the real environment {preset.name!r} needs ViZDoom, which could not be imported "
            f'({error}). Install it with: pip install "nfd-world[doom]"'
        ) from error
    variables = [getattr(vizdoom.GameVariable, name) for name in preset.state_variables]
    return gym.make(
        preset.env_id,
        disable_env_checker=True,
        frame_skip=preset.frame_skip,
        screen_resolution=preset.screen_resolution,
        labels_buffer_enabled=labels,
        available_game_variables=variables,
        doom_config_path=config_path,
    )
