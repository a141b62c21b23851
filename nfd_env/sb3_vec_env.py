"""NFDWorldVecEnv: many imagined episodes in one batch, as a stable-baselines3 VecEnv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices

from nfd_env.building import (
    DEFAULT_WORLD,
    EnvOptions,
    action_space,
    build_core,
    check_render_mode,
    observation_space,
)
from nfd_env.core import ImaginedCore
from nfd_env.rendering import Window, tile
from nfd_env.snapshot import Snapshot
from world_model.errors import WorldNotFoundError


class Stream:
    """One of the imagined episodes, as ``get_attr``, ``set_attr`` and ``env_method`` see it."""

    def __init__(self, core: ImaginedCore, index: int, render_mode: str | None) -> None:
        self.core = core
        self.index = index
        self.render_mode = render_mode
        self.world = core.world
        self.model_id: str = core.world.model_id
        self.observation_space = observation_space(core)
        self.action_space = action_space(core)

    def save_state(self) -> Snapshot:
        """A snapshot of this moment of the episode."""
        return self.core.save([self.index])

    def restore_state(self, snapshot: Snapshot, seed: int | None = None) -> np.ndarray:
        """Returns to a snapshot, see :meth:`nfd_env.env.NFDWorldEnv.restore_state`."""
        self.core.restore(snapshot, [self.index], None if seed is None else [seed])
        return self.core.observation(self.index)

    def render(self) -> np.ndarray:
        """The newest frame, uint8 (H, W, 3)."""
        return self.core.observation(self.index)


class NFDWorldVecEnv(VecEnv):
    """``num_envs`` imagined episodes that share one batched model, for stable-baselines3.

    It behaves as ``DummyVecEnv`` of as many :class:`~nfd_env.env.NFDWorldEnv`: an episode that ends
    is followed by the next one in the same step, with the last frame in the info's
    ``terminal_observation`` and ``TimeLimit.truncated`` telling a cut-off from a true end. Frames
    are NumPy arrays, brought to the host once a step: Stable-Baselines3 keeps its rollouts there.
    A loop of one's own saves that with ``make_vec(..., output="torch")``.

    Args:
        num_envs: number of episodes at a time.
        world: see :class:`~nfd_env.env.NFDWorldEnv`.
        render_mode: ``"rgb_array"``, ``"human"`` (all episodes tiled in one window) or None.
        options: the other arguments of :class:`~nfd_env.env.NFDWorldEnv`.

    Raises:
        The same as :class:`~nfd_env.env.NFDWorldEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        world: str | Path | Any = DEFAULT_WORLD,
        *,
        render_mode: str | None = None,
        **options: Unpack[EnvOptions],
    ) -> None:
        check_render_mode(render_mode)
        self.core = build_core(num_envs, world, **options)
        self.world = self.core.world
        self.model_id: str = self.core.world.model_id
        self.streams = [Stream(self.core, i, render_mode) for i in range(num_envs)]
        self._actions: np.ndarray | None = None
        super().__init__(num_envs, observation_space(self.core), action_space(self.core))
        title = f"NFD-World {self.world.config.name} x {num_envs}"
        self._window = Window(title, float(self.world.config.fps))

    # -- episodes ------------------------------------------------------------------------------

    def reset(self) -> np.ndarray:
        """Starts an episode in every stream, with the seeds and options set before.

        Raises:
            ContextError: if there is nothing to start from, or the options do not fit.
        """
        infos = self.core.reset(seeds=self._seeds, options=self._options)
        self.reset_infos = [infos[i] for i in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        self._show()
        return self.core.observations

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next :meth:`step_wait`.

        Raises:
            ActionError: if an action is not in the action space.
        """
        self._actions = self.core.adapter.encode_batch(actions, self.num_envs)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Imagines the next frame of every stream: (frames, rewards, dones, infos)."""
        actions, self._actions = self._actions, None
        if actions is None:
            raise RuntimeError("step_wait() without step_async(): there are no actions to take.")
        result = self.core.step(actions)
        dones = result.terminated | result.truncated
        infos = [result.info(i) for i in range(self.num_envs)]
        for i, info in enumerate(infos):
            info["TimeLimit.truncated"] = bool(result.truncated[i] and not result.terminated[i])
        if dones.any():
            for i in np.flatnonzero(dones).tolist():
                infos[i]["terminal_observation"] = result.observations[i].copy()
            for i, reset_info in self.core.reset(dones).items():
                self.reset_infos[i] = reset_info
            result.observations[dones] = self.core.observations[dones]
        self._show()
        return result.observations, result.rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Closes the window and a real environment that supplied starts; twice is fine."""
        self._window.close()
        self.core.close()

    # -- rendering -----------------------------------------------------------------------------

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The newest frame of each stream, uint8 (H, W, 3)."""
        return [stream.render() for stream in self.streams]

    def render(self, mode: str | None = None) -> np.ndarray | None:
        """The newest frames in one picture; None in human mode, where the window has them."""
        if self.render_mode == "human" and mode in (None, "human"):
            self._show()
            return None
        return super().render(mode)

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window.show(tile(self.core.observations))

    # -- attributes of the streams ---------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Attribute of each stream; AttributeError if there is none of that name."""
        return [getattr(self.streams[i], attr_name) for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of streams."""
        for i in self._get_indices(indices):
            setattr(self.streams[i], attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Calls a method of streams, such as ``save_state``."""
        streams = [self.streams[i] for i in self._get_indices(indices)]
        return [getattr(stream, method_name)(*method_args, **kwargs) for stream in streams]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether streams are wrapped: never."""
        return [False for _ in self._get_indices(indices)]


def make_sb3_vec_env(
    id: str = "NFD-World-v0", n_envs: int = 1, seed: int | None = None, **kwargs: Any
) -> NFDWorldVecEnv:
    """A native stable-baselines3 ``VecEnv`` of a registered world.

    Args:
        id: a Gymnasium id of this package, or one that a user registered for
            ``nfd_env.env:NFDWorldEnv``.
        n_envs: number of episodes at a time.
        seed: of the first reset, stream i with ``seed + i``, as in SB3's ``make_vec_env``; None:
            fresh entropy.
        kwargs: arguments of :class:`NFDWorldVecEnv`; they win over those of the id.

    Raises:
        WorldNotFoundError: if the id is of another environment.

    Example:
        >>> import nfd_env
        >>> venv = nfd_env.make_sb3_vec_env("NFD-World-v0", n_envs=64)  # doctest: +SKIP
    """
    spec = gym.spec(id)
    if spec.entry_point != "nfd_env.env:NFDWorldEnv":
        raise WorldNotFoundError(
            f"{id!r} is the environment {spec.entry_point}, not a learned world. Use "
            "'NFD-World-v0', or stable_baselines3.common.env_util.make_vec_env for others."
        )
    settings = {**spec.kwargs, **kwargs}
    if spec.max_episode_steps is not None:
        settings.setdefault("max_episode_steps", spec.max_episode_steps)
    envs = NFDWorldVecEnv(n_envs, **settings)
    if seed is not None:
        envs.seed(seed)
    return envs
