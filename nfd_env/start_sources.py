"""Starts from outside the world: recorded episodes, and real environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nfd_env.seeding import draw_index
from world_model.errors import ContextError, DataError
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
            from world_model.data import open_store

            dataset = open_store(Path(dataset))
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
        # A clip never ends at an episode's last frame, after which nothing may come.
        room = np.maximum(dataset.lengths[episodes] - self.length, 0)
        if room.sum() == 0:
            raise DataError(
                f"none of the {len(episodes)} episodes of the split {split!r} is longer than the "
                f"{self.length} frames that a start needs. Record more or longer episodes."
            )
        self._episodes, self._ends = episodes, np.cumsum(room)

    def draw(self, seeds: Sequence[int]) -> list[Context]:
        """See :class:`nfd_env.starts.StartProvider`."""
        return [self._clip(draw_index(seed, int(self._ends[-1]))) for seed in seeds]

    def _clip(self, place: int) -> Context:
        row = int(np.searchsorted(self._ends, place, side="right"))
        first = place - (int(self._ends[row - 1]) if row > 0 else 0)
        begin = int(self.store.offsets[self._episodes[row]])
        rows = slice(begin, begin + first + self.length)
        frames = torch.from_numpy(np.array(self.store.frames[rows]))[None]
        # To the network's alignment: row i is the action that produced frame i.
        actions = torch.full((1, frames.shape[1], self.world.action_spec.dim), torch.nan)
        taken = np.array(self.store.actions[rows][:-1], np.float32)
        actions[0, 1:] = torch.from_numpy(taken)
        memory = _memory_before(self.world, frames[:, :first], actions[:, :first])
        return Context(frames[:, first:], actions[:, first:], memory)


def _memory_before(world: Any, frames: torch.Tensor, actions: torch.Tensor) -> torch.Tensor | None:
    """What the outcome model remembers of an episode whose first frames are ``frames``."""
    if world.outcome is None or frames.shape[1] == 0:
        return None
    device = next(world.outcome.parameters()).device
    with torch.inference_mode():
        unknown = torch.full_like(actions, torch.nan)  # it is only asked what it remembers
        sequence = world.outcome.forward_sequence(
            frames.to(device), actions.to(device), unknown.to(device)
        )
    return sequence.memory.clone().cpu()


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
        # Real environments often take 31-bit seeds only.
        observation, _ = self._env.reset(seed=seed & 0x7FFFFFFF)
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
