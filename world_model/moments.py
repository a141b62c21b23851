"""Moments: clips from the midst of recorded episodes, with what the outcome model remembers there.

The longer a world imagines, the less it resembles what it was learned from. Short imagined episodes
stay near it; to show an agent all that long ones hold, they start from everywhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from world_model.contexts import ContextSet
from world_model.data.store import EpisodeStore
from world_model.errors import DataError
from world_model.outcome import OutcomeModel


class MomentIndex:
    """Every place in some episodes where a clip fits that is not the end of its episode.

    Args:
        store: recorded episodes.
        episodes: int64 (E,), which of them.
        length: frames in a clip.

    Raises:
        DataError: if none of the episodes is longer than that.
    """

    def __init__(self, store: EpisodeStore, episodes: np.ndarray, length: int) -> None:
        # A clip never ends at an episode's last frame, after which nothing may come.
        room = np.maximum(store.lengths[episodes] - length, 0)
        if room.sum() == 0:
            raise DataError(
                f"none of the {len(episodes)} episodes is longer than the {length} frames that a "
                "start needs. Record more or longer episodes."
            )
        self.store, self.length = store, length
        self._before = store.before_episodes()[episodes]
        self._episodes, self._ends = episodes, np.cumsum(room)

    def __len__(self) -> int:
        """Number of places."""
        return int(self._ends[-1])

    def upto(self, place: int) -> tuple[Tensor, Tensor]:
        """An episode from its start to the end of the clip at ``place``.

        Returns:
            Frames uint8 (1, T, H, W, 3), of which the last ``length`` are the clip, and actions
            float32 (1, T, K); ``actions[:, i]`` produced frame i, NaN at the start.
        """
        row = int(np.searchsorted(self._ends, place, side="right"))
        first = place - (int(self._ends[row - 1]) if row > 0 else 0)
        begin = int(self.store.offsets[self._episodes[row]])
        rows = slice(begin, begin + first + self.length)
        frames = torch.from_numpy(np.array(self.store.frames[rows]))[None]
        taken = torch.from_numpy(np.array(self.store.actions[rows][:-1], np.float32))
        actions = torch.full((1, frames.shape[1], taken.shape[1]), torch.nan)
        actions[0, 1:] = taken
        # Known where the episode is a piece of a longer recording.
        actions[0, 0] = torch.from_numpy(self._before[row])
        return frames, actions


def memory_of(outcome: OutcomeModel | None, frames: Tensor, actions: Tensor) -> Tensor | None:
    """What the outcome model remembers of an episode so far; None for nothing.

    Args:
        outcome: the model, or None.
        frames: uint8 (1, T, H, W, 3), from the episode's start.
        actions: float32 (1, T, K), the action that produced each frame.

    Returns:
        float32 (1, M), on the CPU.
    """
    if outcome is None or frames.shape[1] == 0:
        return None
    device = next(outcome.parameters()).device
    with torch.inference_mode():
        unknown = torch.full_like(actions, torch.nan)  # it is only asked what it remembers
        sequence = outcome.forward_sequence(
            frames.to(device), actions.to(device), unknown.to(device)
        )
    return sequence.memory.clone().cpu()


def cut_moments(
    store: EpisodeStore, outcome: OutcomeModel | None, count: int, length: int, seed: int = 0
) -> ContextSet | None:
    """Different moments of the training episodes, every one equally likely; None for none.

    Args:
        store: recorded episodes.
        outcome: the finished outcome model of the world that the moments are for, if it has one.
        count: how many, or all there are if these are fewer.
        length: frames of each clip.
        seed: of the choice.
    """
    try:
        index = MomentIndex(store, store.split("train"), length)
    except DataError:  # too short for moments, long enough for starts
        return None
    if count < 1:
        return None
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(len(index), min(count, len(index)), replace=False))
    clips, produced, memories, steps = [], [], [], []
    for place in places.tolist():
        frames, actions = index.upto(place)
        first = frames.shape[1] - length
        clips.append(frames[0, first:].numpy())
        produced.append(actions[0, first:].numpy())
        steps.append(first)
        if outcome is not None:
            memory = memory_of(outcome, frames[:, :first], actions[:, :first])
            fresh = outcome.initial_memory(1, device="cpu")
            memories.append((fresh if memory is None else memory)[0].numpy())
    return ContextSet(
        frames=np.stack(clips),
        actions=np.stack(produced),
        outcome_memory=np.stack(memories) if memories else None,
        start_step=np.array(steps, np.int64),
    )
