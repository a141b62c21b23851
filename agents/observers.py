"""What a trained policy sees of an episode: its last frames, what a world remembers of it, or both.

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

Inputs = Tensor | dict[str, Tensor]
"""Of a network: (B, ...), or several of these by name."""


class Observer(Protocol):
    """Turns the frames of ``B`` streams, one after the other, into inputs of a network."""

    @property
    def space(self) -> spaces.Space[Any]:
        """Space of one stream's inputs, as the network takes them."""
        ...

    def begin(self, streams: int) -> Any:
        """State of streams that have seen nothing yet."""
        ...

    def restart(self, state: Any, rows: np.ndarray) -> None:
        """Makes the streams ``rows`` (int64) have seen nothing yet, in place."""
        ...

    def see(self, state: Any, frames: np.ndarray, actions: np.ndarray) -> Inputs:
        """Inputs of the network; ``state`` moves on by one frame, in place.

        Args:
            state: of the same ``B`` streams.
            frames: uint8 (B, H, W, 3).
            actions: float32 (B, K), the encoded action that produced each frame; NaN at a start.
        """
        ...

    def recall(self, state: Any, rows: np.ndarray, frames: np.ndarray, memory: Tensor) -> Inputs:
        """Starts streams where a world's memory reaches back to before their first frame.

        Args:
            state: of all streams; the rows are set, in place.
            rows: int64 (b,), the streams.
            frames: uint8 (b, H, W, 3), their first frames.
            memory: float32 (b, M), of the world's outcome model, which saw these frames last.

        Returns:
            Inputs of the ``b`` streams.
        """
        ...


class StackedFrames:
    """The last ``count`` frames.

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

    def restart(self, state: np.ndarray, rows: np.ndarray) -> None:
        """See :class:`Observer`."""
        state[rows] = 0

    def see(self, state: np.ndarray, frames: np.ndarray, actions: np.ndarray) -> Tensor:
        """See :class:`Observer`."""
        channels = self.frame_shape[-1]
        state[..., :-channels] = state[..., channels:].copy()
        state[..., -channels:] = frames
        return _channels_first(state)

    def recall(
        self, state: np.ndarray, rows: np.ndarray, frames: np.ndarray, memory: Tensor
    ) -> Tensor:
        """See :class:`Observer`."""
        state[rows] = 0
        state[rows, ..., -self.frame_shape[-1] :] = frames
        return _channels_first(state[rows])


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

    def restart(self, state: Tensor, rows: np.ndarray) -> None:
        """See :class:`Observer`."""
        state[torch.from_numpy(rows)] = 0

    @torch.no_grad()
    def see(self, state: Tensor, frames: np.ndarray, actions: np.ndarray) -> Tensor:
        """See :class:`Observer`."""
        device = state.device
        shown = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
        state.copy_(self.outcome.observe(state, shown, torch.from_numpy(actions).to(device)))
        return self._look(state, shown)

    @torch.no_grad()
    def recall(self, state: Tensor, rows: np.ndarray, frames: np.ndarray, memory: Tensor) -> Tensor:
        """See :class:`Observer`."""
        state[torch.from_numpy(rows)] = memory
        return self._look(memory, torch.from_numpy(np.ascontiguousarray(frames)).to(memory.device))

    def _look(self, memory: Tensor, frames: Tensor) -> Tensor:
        """Inputs float32 (B, hidden + embedding) for memories (B, M) that saw ``frames`` last."""
        return torch.cat([memory[:, :-1], self.outcome.features(frames).float()], dim=1)


class FramesAndMemory:
    """Both: the network finds in the frames what the memory does not tell."""

    def __init__(self, frames: StackedFrames, memory: WorldMemory) -> None:
        self._parts: dict[str, StackedFrames | WorldMemory] = {"frames": frames, "memory": memory}
        self.outcome = memory.outcome
        self.space = spaces.Dict({name: part.space for name, part in self._parts.items()})

    def begin(self, streams: int) -> dict[str, Any]:
        """See :class:`Observer`."""
        return {name: part.begin(streams) for name, part in self._parts.items()}

    def restart(self, state: dict[str, Any], rows: np.ndarray) -> None:
        """See :class:`Observer`."""
        for name, part in self._parts.items():
            part.restart(state[name], rows)

    def see(
        self, state: dict[str, Any], frames: np.ndarray, actions: np.ndarray
    ) -> dict[str, Tensor]:
        """See :class:`Observer`."""
        return {name: part.see(state[name], frames, actions) for name, part in self._parts.items()}

    def recall(
        self, state: dict[str, Any], rows: np.ndarray, frames: np.ndarray, memory: Tensor
    ) -> dict[str, Tensor]:
        """See :class:`Observer`."""
        return {
            name: part.recall(state[name], rows, frames, memory)
            for name, part in self._parts.items()
        }


def _channels_first(stack: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2)))
