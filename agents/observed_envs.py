"""Environments of frames as a policy's observer sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from agents.observers import Inputs, Observer
from world_model.action_spec import ActionSpec


class ObservedEnvs(VecEnvWrapper):
    """An observer's inputs in place of frames.

    An imagined episode that starts in the middle of a recorded one starts with what the world
    remembers of its beginning.

    Args:
        envs: environments of uint8 (H, W, 3) frames, imagined or real.
        observer: turns their frames into observations.
        action_spec: their actions.
    """

    def __init__(self, envs: VecEnv, observer: Observer, action_spec: ActionSpec) -> None:
        super().__init__(envs, observation_space=observer.space)
        self._observer, self._spec = observer, action_spec
        self._core: Any = getattr(envs.unwrapped, "core", None)
        self._state = observer.begin(self.num_envs)
        self._actions: np.ndarray = np.empty(0, np.float32)

    def reset(self) -> Any:
        """Starts an episode in every stream."""
        frames = np.asarray(self.venv.reset())
        return self._start(np.arange(self.num_envs), frames)

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next :meth:`step_wait`."""
        self._actions = self._spec.encode_batch(actions, self.num_envs)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """One step: (observations, rewards, dones, infos)."""
        frames, rewards, dones, infos = self.venv.step_wait()
        frames = np.asarray(frames)
        ended = np.flatnonzero(dones)
        shown = frames.copy()
        for i in ended.tolist():
            shown[i] = infos[i]["terminal_observation"]
        seen = _arrays(self._observer.see(self._state, shown, self._actions))
        for i in ended.tolist():
            infos[i]["terminal_observation"] = _pick(seen, i)
        if len(ended):
            _put(seen, ended, self._start(ended, frames[ended]))
        return seen, rewards, dones, infos

    def _start(self, rows: np.ndarray, frames: np.ndarray) -> Any:
        """Observations of the streams ``rows``, which start an episode with these frames."""
        observer: Any = self._observer
        outcome = getattr(observer, "outcome", None)
        if outcome is not None and self._core is not None and self._core.world.outcome is outcome:
            memory = self._core.state.memory[rows]
            return _arrays(observer.recall(self._state, rows, frames, memory))
        fresh = observer.begin(len(rows))
        unknown = np.full((len(rows), self._spec.dim), np.nan, np.float32)
        seen = observer.see(fresh, frames, unknown)
        _put(self._state, rows, fresh)
        return _arrays(seen)


def _arrays(inputs: Inputs) -> Any:
    if isinstance(inputs, dict):
        return {name: value.cpu().numpy() for name, value in inputs.items()}
    return inputs.cpu().numpy()


def _pick(seen: Any, i: int) -> Any:
    if isinstance(seen, dict):
        return {name: value[i].copy() for name, value in seen.items()}
    return seen[i].copy()


def _put(seen: Any, rows: np.ndarray, new: Any) -> None:
    if isinstance(seen, dict):
        for name, value in seen.items():
            value[rows] = new[name]
    else:
        seen[rows] = new
