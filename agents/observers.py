"""What a trained policy sees of an episode: its last frames, or what a world remembers of it.

An observer is batched and keeps its state outside itself, as policies do. Training and playing see
the same: what is built here for whole episodes is what the networks are trained on.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from world_model.outcome import OutcomeModel


class Observer(Protocol):
    """Turns the frames of ``B`` streams, one after the other, into inputs of a network."""

    @property
    def space(self) -> spaces.Box:
        """Space of one stream's inputs, as the network takes them."""
        ...

    def begin(self, streams: int) -> Any:
        """State of streams that start an episode."""
        ...

    def restart(self, state: Any, stream: int) -> None:
        """Makes one stream of ``state`` start a new episode, in place."""
        ...

    def see(self, state: Any, frames: np.ndarray, actions: np.ndarray) -> Tensor:
        """Inputs of the network (B, ...); ``state`` moves on by one frame, in place.

        Args:
            state: of the same ``B`` streams.
            frames: uint8 (B, H, W, 3).
            actions: float32 (B, K), the encoded action that produced each frame; NaN at a start.
        """
        ...


class StackedFrames:
    """The last ``count`` frames, as SB3's ``VecFrameStack`` and ``VecTransposeImage`` give them.

    Its state is uint8 (B, H, W, 3 count), the newest frame last; zeros before the start.
    """

    def __init__(self, frame_shape: tuple[int, int, int], count: int) -> None:
        self.frame_shape, self.count = frame_shape, count
        height, width, channels = frame_shape
        self.space = spaces.Box(0, 255, (channels * count, height, width), np.uint8)

    def begin(self, streams: int) -> np.ndarray:
        """See :class:`Observer`."""
        height, width, channels = self.frame_shape
        return np.zeros((streams, height, width, channels * self.count), np.uint8)

    def restart(self, state: np.ndarray, stream: int) -> None:
        """See :class:`Observer`."""
        state[stream] = 0

    def see(self, state: np.ndarray, frames: np.ndarray, actions: np.ndarray) -> Tensor:
        """See :class:`Observer`."""
        channels = self.frame_shape[-1]
        state[..., :-channels] = state[..., channels:].copy()
        state[..., -channels:] = frames
        return torch.from_numpy(np.ascontiguousarray(state.transpose(0, 3, 1, 2)))


class WorldMemory:
    """What an outcome model remembers of the episode, and what it sees in the newest frame.

    It was taught what hurts and what does not, so its memory holds what matters to an agent, as the
    controller of *World Models* (Ha & Schmidhuber 2018) sees its model's state. It watches real
    frames as well as imagined ones. The observer's state is its memory, float32 (B, M).
    """

    def __init__(self, outcome: OutcomeModel) -> None:
        self.outcome = outcome
        width = outcome.config.hidden + outcome.config.embedding
        self.space = spaces.Box(-np.inf, np.inf, (width,), np.float32)

    def begin(self, streams: int) -> Tensor:
        """See :class:`Observer`."""
        return self.outcome.initial_memory(streams)

    def restart(self, state: Tensor, stream: int) -> None:
        """See :class:`Observer`."""
        state[stream] = 0

    @torch.no_grad()
    def see(self, state: Tensor, frames: np.ndarray, actions: np.ndarray) -> Tensor:
        """See :class:`Observer`."""
        device = state.device
        shown = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
        state.copy_(self.outcome.observe(state, shown, torch.from_numpy(actions).to(device)))
        return self.look(state, shown)

    @torch.no_grad()
    def look(self, memory: Tensor, frames: Tensor) -> Tensor:
        """Inputs float32 (B, hidden + embedding) for memories (B, M) that saw ``frames`` last."""
        return torch.cat([memory[:, :-1], self.outcome.features(frames).float()], dim=1)
