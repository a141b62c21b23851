"""An episode without an end, of a world of ours or of anybody's imagined environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array

import nfd_env  # noqa: F401 - registers the ids


def endless_env(world: Any, **settings: Any) -> Any:
    """A single environment whose episode goes on for as long as it is stepped.

    Args:
        world: an adapter that says that it goes on (``goes_on``), or a world of ours.
        settings: of our environment, such as ``sampling_steps``; they say nothing to others.
    """
    if hasattr(world, "endless_env"):
        return world.endless_env()
    return gym.make("NFD-World-v0", world=world, endless=True, **settings)


def numbers_are_finite(env: Any, info: dict[str, Any]) -> bool:
    """Whether nothing that can be seen of an environment's state is a NaN or an infinity.

    Of an environment that is not ours that is ``info["uncertainty"]``, if there is one.
    """
    core = getattr(getattr(env, "unwrapped", env), "core", None)
    shown = np.isfinite(info.get("uncertainty", 0.0)).all()
    return bool(shown) and state_is_finite(getattr(core, "state", None))


def state_is_finite(state: Any) -> bool:
    """Whether no tensor of a rollout's state holds a NaN or an infinity."""
    import torch

    tensors = state.tensors() if hasattr(state, "tensors") else []
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())


class FirstOfBatch:
    """The first stream of a vector environment as a single one; the others do as it does."""

    def __init__(self, env: Any) -> None:
        self.env, self.streams = env, int(env.num_envs)
        self.action_space = env.single_action_space

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts all streams."""
        frames, _ = self.env.reset(seed=[seed + i for i in range(self.streams)])
        return np.array(frames[0]), {}

    def step(self, action: Any) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """Steps all streams, and tells of the first."""
        empty = create_empty_array(self.action_space, self.streams)
        batch: Any = concatenate(self.action_space, [action] * self.streams, empty)  # type: ignore[arg-type]
        frames, rewards, terminated, truncated, infos = self.env.step(batch)
        told = {k: infos[k][0] for k in ("uncertainty",) if k in infos}
        return np.array(frames[0]), rewards[0], terminated[0], truncated[0], told

    def close(self) -> None:
        """Nothing: the batch belongs to its world."""
