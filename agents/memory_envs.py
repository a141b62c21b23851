"""Imagined environments whose observations are what the world's outcome model remembers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from agents.observers import WorldMemory
from world_model.action_spec import ActionSpec


class MemoryEnvs(VecEnvWrapper):
    """Observations of :class:`agents.observers.WorldMemory` in place of frames.

    An imagined episode that starts in the middle of a recorded one starts with what the world
    remembers of its beginning.

    Args:
        envs: environments of uint8 (H, W, 3) frames, imagined or real.
        observer: turns their frames into observations.
        action_spec: their actions.
    """

    def __init__(self, envs: VecEnv, observer: WorldMemory, action_spec: ActionSpec) -> None:
        super().__init__(envs, observation_space=observer.space)
        self._observer, self._spec = observer, action_spec
        self._core: Any = getattr(envs.unwrapped, "core", None)
        self._memory = observer.begin(self.num_envs)
        self._actions: np.ndarray = np.empty(0, np.float32)

    def reset(self) -> np.ndarray:
        """Starts an episode in every stream."""
        frames = np.asarray(self.venv.reset())
        return self._start(frames, np.ones(self.num_envs, np.bool_))

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next :meth:`step_wait`."""
        self._actions = self._spec.encode_batch(actions, self.num_envs)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """One step: (float32 (B, D) observations, rewards, dones, infos)."""
        frames, rewards, dones, infos = self.venv.step_wait()
        frames = np.asarray(frames)
        ended = np.flatnonzero(dones).tolist()
        shown = frames.copy()
        for i in ended:
            shown[i] = infos[i]["terminal_observation"]
        seen = self._observer.see(self._memory, shown, self._actions).cpu().numpy()
        for i in ended:
            infos[i]["terminal_observation"] = seen[i].copy()
        if ended:
            seen[dones] = self._start(frames, np.asarray(dones))
        return seen, rewards, dones, infos

    def _start(self, frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Observations of the streams of ``mask``, which start an episode with these frames."""
        rows = torch.from_numpy(np.flatnonzero(mask)).to(self._memory.device)
        memory = getattr(getattr(self._core, "state", None), "memory", None)
        if memory is not None and self._core.world.outcome is self._observer.outcome:
            self._memory[rows] = memory[rows]
            shown = torch.from_numpy(np.ascontiguousarray(frames[mask])).to(self._memory.device)
            return self._observer.look(self._memory[rows], shown).cpu().numpy()
        fresh = self._observer.begin(len(rows))
        unknown = np.full((len(rows), self._spec.dim), np.nan, np.float32)
        seen = self._observer.see(fresh, frames[mask], unknown).cpu().numpy()
        self._memory[rows] = fresh
        return seen
