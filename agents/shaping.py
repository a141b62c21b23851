"""Reward shaping by what a world's outcome model knows of the player's state.

Surviving is rewarded every step, so a hit shows in the rewards only when it was one too many. The
outcome model's memory holds what the real game knows of the state, such as health. Its expected
value, weighted, is a potential: what is gained or lost of it is added to the rewards at once, and
by the theory of potential-based shaping the best policy stays the best (Ng et al. 1999).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from world_model.errors import NFDError


class PotentialShaping(VecEnvWrapper):
    """Adds ``gamma * potential(after) - potential(before)`` to the rewards of imagined streams.

    At the end of an episode the potential is 0; where one is cut off it counts as unchanged.

    Args:
        envs: imagined environments, wrapped or not.
        state: name of the state that is the potential, such as ``health``.
        weight: reward for one unit of it.
        gamma: discount of the agent.

    Raises:
        NFDError: if the environments are not imagined, or their world does not know the state.
    """

    def __init__(self, envs: VecEnv, state: str, weight: float, gamma: float) -> None:
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
        self._index = names.index(state)
        self._weight, self._gamma = weight, gamma
        self._before = np.zeros(self.num_envs)

    @torch.no_grad()
    def _potential(self) -> np.ndarray:
        states = self._outcome.states(self._core.state.memory)
        return self._weight * states[:, self._index].cpu().numpy().astype(np.float64)

    def reset(self) -> Any:
        """Starts an episode in every stream."""
        observations = self.venv.reset()
        self._before = self._potential()
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """One step with shaped rewards."""
        observations, rewards, dones, infos = self.venv.step_wait()
        now = self._potential()  # of the next episode, where one has ended
        cut_off = np.array([bool(info.get("TimeLimit.truncated")) for info in infos])
        after = np.where(dones, 0.0, now)
        change = np.where(cut_off, 0.0, self._gamma * after - self._before)
        self._before = now
        return observations, (rewards + change).astype(np.float32), dones, infos
