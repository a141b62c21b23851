"""A trained network behind the same interface as the scripted policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError


@dataclass
class FrameStackState:
    """State of ``B`` streams of a trained policy."""

    frames: np.ndarray
    """uint8 (B, H, W, 3 k), the frames of the last k decisions, the newest last; zeros before the
    start."""
    actions: np.ndarray
    """The last decision of each stream."""
    held: np.ndarray
    """int64 (B,), steps for which it is still to be held."""
    generators: list[np.random.Generator]
    """One source of randomness a stream, used where actions are sampled."""


class TrainedPolicy:
    """Plays an SB3 actor-critic network on stacked frames, in ``B`` streams at once.

    Args:
        network: takes uint8 (B, 3 k, H, W) observations.
        action_spec: what its actions mean.
        frame_shape: height, width and channels of one frame.
        frame_stack: number of frames ``k`` that the network sees.
        action_repeat: steps for which every decision is held.
        name: for tables.
        deterministic: the likeliest action always, or one sampled from the network's
            distribution (Discrete spaces only) with the stream's own generator.
    """

    def __init__(
        self,
        network: ActorCriticPolicy,
        action_spec: ActionSpec,
        *,
        frame_shape: tuple[int, int, int],
        frame_stack: int,
        action_repeat: int = 1,
        name: str = "agent",
        deterministic: bool = True,
    ) -> None:
        if not deterministic and not isinstance(action_spec.space, spaces.Discrete):
            raise ActionError(
                f"actions of {action_spec.space} cannot be sampled here; use deterministic=True."
            )
        self.network = network
        self.action_spec = action_spec
        self.frame_shape = frame_shape
        self.frame_stack = frame_stack
        self.action_repeat = action_repeat
        self.name = name
        self.deterministic = deterministic
        self.network.set_training_mode(False)

    def begin(self, seeds: Sequence[int]) -> FrameStackState:
        """State of ``len(seeds)`` streams that start an episode."""
        height, width, channels = self.frame_shape
        space = self.action_spec.space
        return FrameStackState(
            np.zeros((len(seeds), height, width, channels * self.frame_stack), np.uint8),
            np.zeros((len(seeds), *(space.shape or ())), space.dtype),
            np.zeros(len(seeds), np.int64),
            [np.random.default_rng(seed) for seed in seeds],
        )

    def restart(self, state: FrameStackState, stream: int, seed: int) -> None:
        """Makes one stream start a new episode, in place."""
        state.frames[stream] = 0
        state.held[stream] = 0
        state.generators[stream] = np.random.default_rng(seed)

    def act(self, observations: np.ndarray, state: FrameStackState) -> np.ndarray:
        """One action a stream for uint8 observations (B, H, W, 3)."""
        if observations.shape != (len(state.generators), *self.frame_shape):
            raise ValueError(
                f"expected observations of shape {(len(state.generators), *self.frame_shape)}, "
                f"got {observations.shape}."
            )
        deciding = np.flatnonzero(state.held == 0)
        if len(deciding):
            channels = self.frame_shape[-1]
            frames = np.concatenate(
                [state.frames[deciding][..., channels:], observations[deciding]], axis=-1
            )
            state.frames[deciding] = frames
            generators = [state.generators[i] for i in deciding]
            state.actions[deciding] = self._decide(frames, generators)
            state.held[deciding] = self.action_repeat
        state.held -= 1
        return state.actions.copy()

    def _decide(self, frames: np.ndarray, generators: list[np.random.Generator]) -> np.ndarray:
        """Decisions of ``b`` streams on their stacked frames (b, H, W, 3 k)."""
        stacked = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        with torch.no_grad():
            distribution = self.network.get_distribution(stacked.to(self.network.device))
            if self.deterministic:
                actions = distribution.get_actions(deterministic=True).cpu().numpy()
                return self._clip(actions)
            logits = distribution.distribution.logits  # type: ignore[union-attr]
            probabilities = logits.double().softmax(dim=1).cpu().numpy()
        draws = np.array([generator.random() for generator in generators])
        choices = (probabilities.cumsum(axis=1) < draws[:, None]).sum(axis=1)
        # Rounding may leave the last sum a little below 1.
        return np.minimum(choices, probabilities.shape[1] - 1)

    def _clip(self, actions: np.ndarray) -> np.ndarray:
        space = self.action_spec.space
        if isinstance(space, spaces.Box):
            return np.clip(actions, space.low, space.high)
        return actions
