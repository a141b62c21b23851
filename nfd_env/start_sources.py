"""Starts from outside the world: recorded episodes, and real environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nfd_env.seeding import SHORT_SEEDS, draw_index
from world_model.errors import ContextError, DataError
from world_model.moments import MomentIndex, memory_of
from world_model.types import Context

SPLITS = ("train", "validation", "all")


class DatasetStarts:
    """Clips cut out of recorded episodes, every possible place equally likely.

    An imagined episode begins where its clip ends: its steps, and so its horizon, are counted from
    there, however many steps of the recorded episode came before. The outcome model is shown those
    as well, so that it remembers what happened in them, and how long they took.

    Args:
        dataset: folder of a data set, or an opened ``EpisodeStore``.
        world: the world that the clips are for.
        length: frames in a clip; by default the world's context length.
        split: the episodes to cut from, ``"train"``, ``"validation"`` or ``"all"``. An agent that
            trains from clips of the training split can be judged on the others.

    Raises:
        DataError: if no episode of the split is long enough.
        ContextError: if the data set has other frames or actions than the world, or there is no
            such split.
    """

    def __init__(
        self, dataset: Any, world: Any, length: int | None = None, split: str = "train"
    ) -> None:
        if split not in SPLITS:
            raise ContextError(f"split={split!r} of a data set: expected one of {SPLITS}.")
        if isinstance(dataset, str | Path):
            from world_model.data import open_store_for

            config = world.config
            dataset = open_store_for(Path(dataset), config.frame_shape, config.source)
        if tuple(dataset.frame_shape) != tuple(world.config.frame_shape):
            raise ContextError(
                f"the data set's frames have shape {tuple(dataset.frame_shape)}, those of the "
                f"world {world.model_id} {tuple(world.config.frame_shape)}. Use a data set that "
                "was recorded with the world's preprocessing."
            )
        if dataset.action_spec.space != world.action_spec.space:
            raise ContextError(
                f"the data set's actions are {dataset.action_spec.space}, those of the world "
                f"{world.model_id} {world.action_spec.space}."
            )
        self.store = dataset
        self.world = world
        self.length = int(world.config.context_length) if length is None else length
        episodes = np.arange(dataset.num_episodes) if split == "all" else dataset.split(split)
        try:
            self._index = MomentIndex(dataset, episodes, self.length)
        except DataError as error:
            raise DataError(f"split {split!r}: {error}") from error

    def draw(self, seeds: Sequence[int]) -> list[Context]:
        """See :class:`nfd_env.starts.StartProvider`."""
        return [self._clip(draw_index(seed, len(self._index))) for seed in seeds]

    def _clip(self, place: int) -> Context:
        frames, actions = self._index.upto(place)
        first = len(frames) - self.length
        return Context(
            frames=torch.from_numpy(np.array(frames[first:]))[None],
            actions=torch.from_numpy(actions[first:])[None],
            outcome_memory=memory_of(self.world.outcome, frames[:first], actions[:first]),
        )


class RealEnvStarts:
    """First frames of a real environment, reset with the seed of each episode.

    Args:
        make_env: makes the environment; called when the first start is needed. Its observations
            must be the frames that the world was trained on, preprocessing included.
        world: the world that the starts are for.
    """

    def __init__(self, make_env: Callable[[], Any], world: Any) -> None:
        self.make_env = make_env
        self.world = world
        self._env: Any = None

    def draw(self, seeds: Sequence[int]) -> list[Context]:
        """See :class:`nfd_env.starts.StartProvider`."""
        if self._env is None:
            self._env = self.make_env()
        return [self._first_frame(seed) for seed in seeds]

    def _first_frame(self, seed: int) -> Context:
        observation, _ = self._env.reset(seed=seed & SHORT_SEEDS)
        frame = np.array(observation)
        if frame.dtype != np.uint8 or frame.shape != tuple(self.world.config.frame_shape):
            raise ContextError(
                f"the real environment shows {frame.dtype} {frame.shape}, but the world "
                f"{self.world.model_id} takes uint8 {tuple(self.world.config.frame_shape)}. Give a "
                "callable that makes the environment with the world's preprocessing: "
                f"{self.world.config.source}."
            )
        actions = torch.from_numpy(self.world.action_spec.null())[None, None]
        return Context(torch.from_numpy(frame)[None, None], actions)

    def close(self) -> None:
        """Closes the real environment; it is made anew if another start is needed."""
        if self._env is not None:
            self._env.close()
            self._env = None


def gymnasium_maker(env_id: str) -> Callable[[], Any]:
    """A callable that makes the Gymnasium environment ``env_id``."""
    import gymnasium as gym

    def make() -> Any:
        try:
            return gym.make(env_id, disable_env_checker=True)
        except gym.error.UnregisteredEnv as error:
            raise ContextError(
                f"contexts={env_id!r} is no Gymnasium environment: {error}"
            ) from error

    return make
