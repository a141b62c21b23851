"""Action repeat: an agent decides once for several steps of its environment.

A policy that draws every action afresh trembles on the spot. One that holds each action for a few
steps gets somewhere, so exploration finds what dodging is worth long before it is learned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class ActionRepeat(VecEnvWrapper):
    """Takes every action ``repeat`` times, and adds the rewards up.

    An episode that ends within a repeat ends the transition there. The one that follows begins with
    what is left of the repeat, the rewards of which count for nothing: its first observation comes
    up to ``repeat - 1`` steps late.

    Args:
        envs: environments that reset by themselves in the same step, as those of SB3 do.
        repeat: steps for one action, at least 1.
    """

    def __init__(self, envs: VecEnv, repeat: int) -> None:
        if repeat < 1:
            raise ValueError(f"repeat={repeat}: expected at least 1.")
        super().__init__(envs)
        self._repeat = repeat
        self._actions: np.ndarray = np.empty(0)

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next :meth:`step_wait`."""
        self._actions = actions

    def reset(self) -> Any:
        """Starts an episode in every stream."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """``repeat`` steps: (the last observations, sums of rewards, dones, infos)."""
        self.venv.step_async(self._actions)
        observations, rewards, ended, infos = self.venv.step_wait()
        rewards, ended, infos = rewards.copy(), ended.copy(), list(infos)
        for _ in range(self._repeat - 1):
            self.venv.step_async(self._actions)
            observations, more, ends, latest = self.venv.step_wait()
            rewards += np.where(ended, 0.0, more).astype(rewards.dtype)
            infos = [infos[i] if ended[i] else info for i, info in enumerate(latest)]
            ended = ended | ends
        return observations, rewards, ended, infos
