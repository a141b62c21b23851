"""Moments: clips from the midst of recorded episodes, with what the outcome model remembers there.

The longer a world imagines, the less it resembles what it was learned from. Short imagined episodes
stay near it; to show an agent all that long ones hold, they start from everywhere.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from world_model.contexts import ContextSet, clips_that_fit
from world_model.data.store import EpisodeStore
from world_model.errors import DataError
from world_model.outcome import OutcomeModel

PIECE_BYTES = 8 * 2**20
"""Bytes of the frames that the outcome model is shown at a time: 682 frames of 64x64 pixels, 32 of
384x224. What it computes from them takes some thirty times as much."""


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

    def upto(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """An episode from its start to the end of the clip at ``place``.

        Returns:
            Frames uint8 (T, H, W, 3), of which the last ``length`` are the clip, and actions
            float32 (T, K); ``actions[i]`` produced frame i, NaN at the start. The frames are a view
            of the store: of a long episode, nothing is read before it is needed.
        """
        row = int(np.searchsorted(self._ends, place, side="right"))
        first = place - (int(self._ends[row - 1]) if row > 0 else 0)
        begin = int(self.store.offsets[self._episodes[row]])
        rows = slice(begin, begin + first + self.length)
        # The action before the first frame is known where the episode is a piece of a longer
        # recording.
        before, taken = self._before[row][None], self.store.actions[rows][:-1]
        return self.store.frames[rows], np.concatenate([before, taken]).astype(np.float32)


def memory_of(
    outcome: OutcomeModel | None, frames: np.ndarray, actions: np.ndarray
) -> Tensor | None:
    """What the outcome model remembers of an episode so far; None for nothing.

    Args:
        outcome: the model, or None.
        frames: uint8 (T, H, W, 3), from the episode's start; may be memory-mapped.
        actions: float32 (T, K), the action that produced each frame.

    Returns:
        float32 (1, M), on the CPU.
    """
    if outcome is None or len(frames) == 0:
        return None
    device = next(outcome.parameters()).device
    memory: Tensor | None = None
    step = max(1, PIECE_BYTES // math.prod(frames.shape[1:]))
    with torch.inference_mode():
        for first in range(0, len(frames), step):
            piece = slice(first, first + step)
            shown = torch.from_numpy(np.array(frames[piece]))[None].to(device)
            produced = torch.from_numpy(np.array(actions[piece]))[None].to(device)
            unknown = torch.full_like(produced, torch.nan)  # it is only asked what it remembers
            memory = outcome.forward_sequence(shown, produced, unknown, memory).memory
    assert memory is not None
    return memory.clone().cpu()


def cut_moments(
    store: EpisodeStore, outcome: OutcomeModel | None, count: int, length: int, seed: int = 0
) -> ContextSet | None:
    """Different moments of the training episodes, every one equally likely; None for none.

    Args:
        store: recorded episodes.
        outcome: the finished outcome model of the world that the moments are for, if it has one.
        count: how many; fewer where there are fewer, or where they would take more than
            :data:`world_model.contexts.CLIP_BYTES`.
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
    count = min(clips_that_fit(count, length, store.frame_shape), len(index))
    places = np.sort(rng.choice(len(index), count, replace=False))
    clips = np.empty((count, length, *store.frame_shape), np.uint8)
    produced = np.empty((count, length, store.actions.shape[1]), np.float32)
    memories = None if outcome is None else outcome.initial_memory(count, device="cpu").numpy()
    steps = np.empty(count, np.int64)
    for i, place in enumerate(places.tolist()):
        frames, actions = index.upto(place)
        first = len(frames) - length
        clips[i], produced[i], steps[i] = frames[first:], actions[first:], first
        memory = memory_of(outcome, frames[:first], actions[:first])
        if memories is not None and memory is not None:
            memories[i] = memory[0].numpy()
    return ContextSet(clips, produced, outcome_memory=memories, start_step=steps)
