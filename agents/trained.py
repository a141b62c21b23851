"""A trained network behind the same interface as the scripted policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.observers import Inputs, Observer
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError


@dataclass
class TrainedState:
    """State of ``B`` streams of a trained policy."""

    seen: Any
    """The observer's state."""
    actions: np.ndarray
    """float32 (B, K), the encoded action that each stream took last; NaN before the first."""
    generators: list[np.random.Generator]
    """One source of randomness a stream, used where actions are sampled."""


class TrainedPolicy:
    """Plays an SB3 actor-critic network, in ``B`` streams at once.

    Args:
        network: takes the observer's inputs.
        action_spec: what its actions mean.
        observer: turns frames into its inputs.
        frame_shape: height, width and channels of one frame.
        name: for tables.
        deterministic: the likeliest action always, or one sampled from the network's
            distribution (Discrete spaces only) with the stream's own generator.
    """

    def __init__(
        self,
        network: ActorCriticPolicy,
        action_spec: ActionSpec,
        observer: Observer,
        *,
        frame_shape: tuple[int, int, int],
        name: str = "agent",
        deterministic: bool = True,
    ) -> None:
        if not deterministic and not isinstance(action_spec.space, spaces.Discrete):
            raise ActionError(
                f"actions of {action_spec.space} cannot be sampled here; use deterministic=True."
            )
        self.network = network
        self.action_spec = action_spec
        self.observer = observer
        self.frame_shape = frame_shape
        self.name = name
        self.deterministic = deterministic
        self.network.set_training_mode(False)

    def begin(self, seeds: Sequence[int]) -> TrainedState:
        """State of ``len(seeds)`` streams that start an episode."""
        return TrainedState(
            self.observer.begin(len(seeds)),
            np.full((len(seeds), self.action_spec.dim), np.nan, np.float32),
            [np.random.default_rng(seed) for seed in seeds],
        )

    def restart(self, state: TrainedState, stream: int, seed: int) -> None:
        """Makes one stream start a new episode, in place."""
        self.observer.restart(state.seen, np.array([stream]))
        state.actions[stream] = np.nan
        state.generators[stream] = np.random.default_rng(seed)

    def act(self, observations: np.ndarray, state: TrainedState) -> np.ndarray:
        """One action a stream for uint8 observations (B, H, W, 3)."""
        if observations.shape != (len(state.generators), *self.frame_shape):
            raise ValueError(
                f"expected observations of shape {(len(state.generators), *self.frame_shape)}, "
                f"got {observations.shape}."
            )
        inputs = self.observer.see(state.seen, observations, state.actions)
        actions = self._decide(inputs, state.generators)
        state.actions = self.action_spec.encode_batch(actions, len(actions))
        return actions

    def _decide(self, inputs: Inputs, generators: Sequence[np.random.Generator]) -> np.ndarray:
        with torch.no_grad():
            distribution = self.network.get_distribution(_moved(inputs, self.network.device))
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


def _moved(inputs: Inputs, device: torch.device) -> Any:
    if isinstance(inputs, dict):
        return {name: value.to(device) for name, value in inputs.items()}
    return inputs.to(device)
