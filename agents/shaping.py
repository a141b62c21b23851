"""Reward shaping by what a world's outcome model expects an action to cost.

Surviving is rewarded every step, so a hit shows in the rewards only when it was one too many. The
outcome model foresees hits: before the next frame is imagined it knows, from the frames so far and
the action, how a state such as health is likely to change. That expectation, weighted, is added to
the rewards: it tells the good action from the bad one at once, and without the luck of the draw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from world_model.errors import NFDError


class ForeseenChange(VecEnvWrapper):
    """Adds the expected change of a state, weighted, to the rewards of imagined streams.

    Args:
        envs: imagined environments, wrapped or not.
        state: name of the state, such as ``health``.
        weight: reward for one unit of it.

    Raises:
        NFDError: if the environments are not imagined, or their world does not know the state.
    """

    def __init__(self, envs: VecEnv, state: str, weight: float) -> None:
        super().__init__(envs)
        self._core: Any = getattr(envs.unwrapped, "core", None)
        outcome = getattr(getattr(self._core, "world", None), "outcome", None)
        names: tuple[str, ...] = tuple(outcome.config.state_names) if outcome is not None else ()
        if state not in names:
            known = ", ".join(names) or "nothing"
            raise NFDError(
                f"rewards cannot be shaped by {state!r}: the outcome model of these environments "
                f"knows {known}. Choose one of these, or a shaping weight of 0."
            )
        self._outcome: Any = outcome
        self._index, self._weight = names.index(state), weight
        self._foreseen = np.zeros(self.num_envs)

    def reset(self) -> Any:
        """Starts an episode in every stream."""
        return self.venv.reset()

    @torch.no_grad()
    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next :meth:`step_wait`, and foresees what they bring."""
        encoded = self._core.adapter.encode_batch(actions, self.num_envs)
        memory = self._core.state.memory
        changes = self._outcome.expected_changes(memory, torch.from_numpy(encoded).to(memory))
        self._foreseen = changes[:, self._index].cpu().numpy().astype(np.float64)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """One step with shaped rewards."""
        observations, rewards, dones, infos = self.venv.step_wait()
        shaped = (rewards + self._weight * self._foreseen).astype(np.float32)
        return observations, shaped, dones, infos
