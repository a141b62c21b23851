"""Held-out clips: a real context, and what really happened afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from world_model.data.store import EpisodeStore
from world_model.errors import DataError
from world_model.moments import memory_of
from world_model.types import Context, Episode


@dataclass(frozen=True)
class Origin:
    """How a recorded episode came to the newest context frame of a clip."""

    seed: int | None
    """Of the episode; None where it was recorded without."""
    actions: np.ndarray
    """float32 (A, K), all of them since the episode's start."""


@dataclass(frozen=True)
class Clips:
    """``N`` clips of ``C`` context frames and ``H`` steps after them.

    A clip may run past the end of its episode: what is not known there is marked.
    """

    context: Context
    """What a rollout begins with, C frames each."""
    actions: np.ndarray
    """float32 (N, H, K); ``actions[:, h]`` leads to ``frames[:, h]``. After the end of an episode
    the last one is repeated."""
    frames: np.ndarray
    """uint8 (N, H, h, w, 3), zero where unknown."""
    known: np.ndarray
    """bool (N, H), whether the frame exists."""
    ended: np.ndarray
    """float32 (N, H): 1 where the step terminated, 0 where the episode went on, NaN: unknown."""
    rewards: np.ndarray
    """float32 (N, H), of the step that leads to each frame; NaN after the end of the episode. The
    reward of a step that ends it is known even where no frame shows it."""
    labels: np.ndarray | None
    """uint8 (N, H, h, w), class of each pixel, or None."""
    episodes: np.ndarray
    """int64 (N,), the episode in the data set."""
    starts: np.ndarray
    """int64 (N,), the first context frame's place in its episode."""
    origins: tuple[Origin, ...] = ()
    """How the real game comes to the newest context frame of each; none where nobody knows."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.episodes)

    @property
    def horizon(self) -> int:
        """Steps after the context."""
        return self.actions.shape[1]

    @property
    def last_seen(self) -> np.ndarray:
        """uint8 (N, 1, h, w, 3), the newest context frame: what "repeat the last frame" shows."""
        return self.context.frames[:, -1:].numpy()

    def take(self, chosen: np.ndarray) -> Clips:
        """The clips at ``chosen``."""
        memory = self.context.outcome_memory
        context = Context(
            self.context.frames[chosen],
            self.context.actions[chosen],
            None if memory is None else memory[chosen],
        )
        return replace(
            self,
            context=context,
            actions=self.actions[chosen],
            frames=self.frames[chosen],
            known=self.known[chosen],
            ended=self.ended[chosen],
            rewards=self.rewards[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            episodes=self.episodes[chosen],
            starts=self.starts[chosen],
            origins=tuple(self.origins[i] for i in chosen) if self.origins else (),
        )


def cut_clips(
    store: EpisodeStore, split: str, count: int, context: int, horizon: int, seed: int
) -> Clips:
    """Cuts ``count`` different clips; every step of the split is equally likely to be the first.

    Args:
        store: the episodes.
        split: ``validation``, for anything that shall count.
        count: number of clips; fewer where the split has fewer.
        context: context frames C.
        horizon: steps H after them.
        seed: of the choice.

    Raises:
        DataError: if no episode has ``context`` frames and a step after them.
    """
    episodes = store.split(split)
    steps = np.array([len(store.episode(int(i)).actions) for i in episodes])
    room = np.maximum(steps - context + 1, 0)
    ends = np.cumsum(room)
    if not len(ends) or ends[-1] == 0:
        raise DataError(
            f"no episode of the split {split!r} of {store.root} has {context} frames and a step "
            "after them. Record longer episodes."
        )
    count = min(count, int(ends[-1]))
    places = np.sort(np.random.default_rng(seed).choice(ends[-1], count, replace=False))
    which = np.searchsorted(ends, places, side="right")
    starts = places - (ends[which] - room[which])
    return clips_at(store, episodes[which], starts, context, horizon)


def clips_from_starts(store: EpisodeStore, split: str, count: int, context: int, horizon: int,
                      seed: int) -> Clips:  # fmt: skip
    """Clips that begin at the true start of ``count`` different episodes (or all there are)."""
    episodes = store.split(split)
    long_enough = episodes[store.lengths[episodes] > context]
    if not len(long_enough):
        raise DataError(f"no episode of {store.root} is longer than {context} frames.")
    chosen = np.random.default_rng(seed).permutation(long_enough)[:count]
    return clips_at(store, np.sort(chosen), np.zeros(len(chosen), np.int64), context, horizon)


def clips_at(
    store: EpisodeStore, episodes: np.ndarray, starts: np.ndarray, context: int, horizon: int
) -> Clips:
    """The clips whose first context frames are frames ``starts`` of ``episodes``."""
    count, shape, dim = len(episodes), store.frame_shape, store.action_spec.dim
    seen = np.zeros((count, context, *shape), np.uint8)
    produced = np.full((count, context, dim), np.nan, np.float32)
    actions = np.zeros((count, horizon, dim), np.float32)
    frames = np.zeros((count, horizon, *shape), np.uint8)
    known = np.zeros((count, horizon), bool)
    ended = np.full((count, horizon), np.nan, np.float32)
    rewards = np.full((count, horizon), np.nan, np.float32)
    labels = None if store.labels is None else np.zeros((count, horizon, *shape[:2]), np.uint8)
    origins = []
    for i, (index, start) in enumerate(zip(episodes.tolist(), starts.tolist(), strict=True)):
        episode = store.episode(index)
        first = start + context  # the first frame to imagine, which actions[first - 1] leads to
        seen[i] = episode.frames[start:first]
        before = episode.actions[max(start - 1, 0) : first - 1]
        produced[i, context - len(before) :] = before
        taken = episode.actions[first - 1 : first - 1 + horizon]
        actions[i, : len(taken)], actions[i, len(taken) :] = taken, taken[-1]
        real = episode.frames[first : first + horizon]
        frames[i, : len(real)], known[i, : len(real)] = real, True
        ends = episode.terminated[first - 1 : first - 1 + horizon].astype(np.float32)
        ends[episode.truncated[first - 1 : first - 1 + horizon]] = np.nan  # cut off: unknown
        ended[i, : len(ends)] = ends
        rewards[i, : len(ends)] = episode.rewards[first - 1 : first - 1 + horizon]
        if labels is not None and episode.labels is not None:
            labels[i, : len(real)] = episode.labels[first : first + horizon]
        origins.append(_origin(episode, first - 1))
    given = Context(torch.from_numpy(seen), torch.from_numpy(produced))
    where = np.asarray(episodes)
    return Clips(
        given, actions, frames, known, ended, rewards, labels, where, starts, tuple(origins)
    )


def _origin(episode: Episode, steps: int) -> Origin:
    """How ``episode`` came to its frame ``steps``."""
    seed = episode.info.get("seed", "")
    # A copy: the clips may outlive the files that the episode is a view of.
    return Origin(int(seed) if seed.isdecimal() else None, np.array(episode.actions[:steps]))


def remember_the_past(clips: Clips, store: EpisodeStore, world: Any) -> Clips:
    """The same clips with what the outcome model knows of the episode before the context."""
    if world.outcome is None:
        return clips
    memory = world.outcome.initial_memory(len(clips), device="cpu")
    for i, (index, start) in enumerate(zip(clips.episodes, clips.starts, strict=True)):
        episode = store.episode(int(index))
        null = np.full((1, episode.actions.shape[1]), np.nan, np.float32)
        actions = np.concatenate([null, episode.actions[: max(start - 1, 0)]])
        if (known := memory_of(world.outcome, episode.frames[:start], actions)) is not None:
            memory[i] = known[0]
    context = replace(clips.context, outcome_memory=memory)
    return replace(clips, context=context)
