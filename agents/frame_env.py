"""Any Gymnasium environment as one of small uint8 frames: what a recipe describes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from agents.games import (
    action_names,
    frame_missing,
    make_game,
    state_names,
    steps_per_second,
    time_limit,
    versions_of,
)
from agents.pictures import (
    check_crop,
    find_image,
    read_state,
    state_columns,
    to_frame,
    to_rgb,
)
from agents.real_actions import bounded, first_action, named_spec
from agents.recipe import EnvRecipe
from nfd_env.seeding import SHORT_SEEDS
from world_model.errors import ConfigError, DataError

LONGEST = 1000
"""Episodes are cut off after so many steps where nothing else is said."""


class FrameEnv(gym.Env[np.ndarray, Any]):
    """The real environment of a recipe.

    Observations are uint8 (H, W, 3). ``info`` of every ``reset`` and ``step`` carries

    * ``state``: float32 (S,), the numbers that the environment observes beside its picture;
    * ``frame_missing``: True where the game ended without a picture. The last frame and state
      are repeated then.

    An environment that reports a time-out as terminated *and* truncated is truncated only.

    Args:
        recipe: the environment and its preprocessing.
        seed: seed of the first ``reset()`` that is given none.

    Raises:
        WorldNotFoundError: if there is no such environment.
        ConfigError: if the recipe does not fit the environment.
        ActionError: if its actions cannot be given to a world.
        NFDError: if it cannot be started.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, recipe: EnvRecipe, seed: int | None = None) -> None:
        self.recipe, self._options = recipe, recipe.frames
        self._env = make_game(recipe.env_id, recipe.kwargs, render=recipe.frames.render)
        try:
            self._understand()
        except BaseException:
            self._env.close()
            raise
        self.render_mode = "rgb_array"
        self.observation_space = spaces.Box(0, 255, self.frame_shape, np.uint8)
        self._first_seed = seed
        self._steps, self._lives = 0, 0
        self._frame = np.zeros(self.frame_shape, np.uint8)
        self._state = np.zeros(len(self.state_names), np.float32)
        self._picture_checked = False

    def _understand(self) -> None:
        """Finds out what the environment shows and takes."""
        env, options, what = self._env, self._options, self.recipe.env_id
        space = env.observation_space
        self._key: str | None = None
        self._unit = False
        if options.render:
            if "rgb_array" not in (env.metadata.get("render_modes") or ()):
                raise ConfigError(f"{what} cannot draw itself: it has no render mode 'rgb_array'.")
        else:
            self._key = find_image(space, options.observation_key, what)
            image: Any = space if self._key is None else space[self._key]  # type: ignore[index]
            self._unit = image.dtype != np.uint8 and float(image.high.max()) == 1
        self._columns = state_columns(space, self._key, options.render)
        self.state_names = state_names(env, self._columns)
        self.action_space = bounded(env.action_space, options.action_limit, what)
        self.action_spec = named_spec(self.action_space, action_names(env))
        self.frame_shape = (*options.size, 3)
        own = time_limit(env)
        self.max_episode_steps = options.max_episode_steps or LONGEST
        if own is not None:
            self.max_episode_steps = min(self.max_episode_steps, -(-own // options.frame_skip))
        rate = steps_per_second(env)
        self.fps = self.recipe.fps or (10.0 if rate is None else rate / options.frame_skip)
        self.source = self.recipe.to_source(self.max_episode_steps, versions_of(what))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; the same seed and actions give the same episode."""
        if seed is None:
            seed, self._first_seed = self._first_seed, None
        super().reset(seed=seed)
        if seed is not None:
            seed &= SHORT_SEEDS
        observation, info = self._env.reset(seed=seed, options=options)
        self._steps = 0
        waiting = self._options.noop_starts
        if waiting:
            noop = first_action(self.action_spec)
            for _ in range(int(self.np_random.integers(waiting + 1))):
                observation, _, terminated, truncated, info = self._env.step(noop)
                if terminated or truncated:
                    observation, info = self._env.reset()
        self._lives = int(info.get("lives", 0))
        self._look(observation, [self._picture(observation)])
        return self._frame.copy(), self._info(False)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Holds ``action`` for ``frame_skip`` steps of the environment.

        Raises:
            ActionError: if the action is outside the action space.
        """
        self.action_spec.encode(action)  # raises where the action does not fit
        total, terminated, truncated, missing = 0.0, False, False, False
        pictures: list[np.ndarray] = []
        pooling = self._options.pool_frames
        observation: Any = None
        for i in range(self._options.frame_skip):
            observation, reward, over, cut, info = self._env.step(action)
            total += float(reward)
            lives = int(info.get("lives", self._lives))
            lost = self._options.end_on_life_loss and lives < self._lives
            self._lives = lives
            terminated, truncated = bool(over) or lost, bool(cut)
            missing = frame_missing(self._env)
            last = terminated or truncated or i == self._options.frame_skip - 1
            # Drawing is dear: only what is looked at is drawn.
            if not missing and (last or pooling):
                pictures.append(self._picture(observation).copy())
            if terminated or truncated:
                break
        if not missing:
            self._look(observation, pictures[-2:])
        self._steps += 1
        terminated = terminated and not truncated
        truncated = truncated or (self._steps >= self.max_episode_steps and not terminated)
        return self._frame.copy(), total, terminated, truncated, self._info(missing)

    def render(self) -> np.ndarray:
        """The current frame."""
        return self._frame.copy()

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _picture(self, observation: Any) -> np.ndarray:
        """What there is to see now, uint8 (H, W, 3) in its own size."""
        if self._options.render:
            image: Any = self._env.render()
            if isinstance(image, list):
                image = image[-1]
            if not isinstance(image, np.ndarray):
                raise DataError(
                    f"{self.recipe.env_id} rendered {type(image).__name__}, not an array."
                )
        else:
            image = observation if self._key is None else observation[self._key]
        picture = to_rgb(image, self._unit)
        if not self._picture_checked:
            check_crop(picture, self._options.crop, self.recipe.env_id)
            self._picture_checked = True
        return picture

    def _look(self, observation: Any, pictures: list[np.ndarray]) -> None:
        """Takes frame and state from what the environment shows now."""
        picture = pictures[0] if len(pictures) == 1 else np.maximum(pictures[0], pictures[1])
        self._frame = to_frame(picture, self._options.size, self._options.crop)
        self._state = read_state(observation, self._columns)

    def _info(self, missing: bool) -> dict[str, Any]:
        return {"state": self._state.copy(), "frame_missing": missing}
