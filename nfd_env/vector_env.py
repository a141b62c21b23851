"""NFDWorldVectorEnv: many imagined episodes in one batch, as a Gymnasium VectorEnv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from nfd_env.building import (
    DEFAULT_WORLD,
    RENDER_MODES,
    EnvOptions,
    action_space,
    build_core,
    check_render_mode,
    observation_space,
)
from nfd_env.core_step import CoreStep
from nfd_env.rendering import Window, tile
from nfd_env.reset_options import per_stream
from nfd_env.snapshot import Snapshot


class NFDWorldVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """``num_envs`` imagined episodes that share one batched model.

    What ``gym.make_vec("NFD-World-v0", num_envs=n)`` returns. It behaves as Gymnasium's
    ``SyncVectorEnv`` of as many :class:`~nfd_env.env.NFDWorldEnv`: the same arrays, ``info`` keys
    with their masks, ``final_obs`` and ``final_info``; ``reset(seed=s)`` seeds stream i with s + i
    and ``reset(options={"reset_mask": ...})`` resets some streams in every autoreset mode. Other
    reset options hold for every stream, or, given as a list or with one more leading axis, one
    for each.

    Args:
        num_envs: number of episodes at a time.
        world: see :class:`~nfd_env.env.NFDWorldEnv`.
        autoreset_mode: what a step does after an episode's end: ``"next_step"`` (the next step
            returns the new episode's first frame and ignores its action), ``"same_step"`` (the
            last step returns it at once, the last frame is in ``info["final_obs"]``) or
            ``"disabled"``.
        output: ``"numpy"``, or ``"torch"``: observations, rewards and ends are tensors on the
            world's device, and frames never leave it; actions may be tensors as well, which
            are looked at on the host.
        render_mode: ``"rgb_array"``, ``"human"`` (all episodes tiled in one window) or None.
        options: the other arguments of :class:`~nfd_env.env.NFDWorldEnv`.

    Raises:
        The same as :class:`~nfd_env.env.NFDWorldEnv`.
    """

    metadata: dict[str, Any] = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 20,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        world: str | Path | Any = DEFAULT_WORLD,
        *,
        autoreset_mode: str | AutoresetMode = "next_step",
        output: str = "numpy",
        render_mode: str | None = None,
        **options: Unpack[EnvOptions],
    ) -> None:
        super().__init__()
        self.autoreset_mode = parse_autoreset_mode(autoreset_mode)
        if output not in ("numpy", "torch"):
            raise ValueError(f"output={output!r}: expected 'numpy' or 'torch'.")
        self.output = output
        self.render_mode = check_render_mode(render_mode)
        self.core = build_core(num_envs, world, **options)
        self.world = self.core.world
        self.num_envs = num_envs
        self.single_observation_space = observation_space(self.core)
        self.single_action_space = action_space(self.core)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        fps = float(self.world.config.fps)
        self.metadata = {
            **self.metadata,
            "render_fps": fps,
            "autoreset_mode": self.autoreset_mode,
        }
        self._window = Window(f"NFD-World {self.world.config.name} x {num_envs}", fps)

    @property
    def model_id(self) -> str:
        """Name, version and content hash of the world."""
        return self.world.model_id

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in every stream, or in those of ``options["reset_mask"]``.

        Args:
            seed: stream i gets ``seed + i``; or one seed (or None) for each stream.
            options: see the class.

        Raises:
            ContextError: if there is nothing to start from, or the options do not fit.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if mask is not None:
            _check_mask(mask, self.num_envs)
        seeds = _seeds(seed, self.num_envs)
        infos = self.core.reset(mask, seeds, per_stream(options, self.num_envs))
        self._show()
        return self._newest(), self._gather(infos)

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Imagines the next frame of every stream.

        Raises:
            ActionError: if an action is not in the action space.
            ResetNeeded: before the first reset, and if ``autoreset_mode`` is disabled and a
                stream's episode has ended.
        """
        if isinstance(actions, torch.Tensor):
            actions = actions.detach().cpu()
            wide = actions.dtype in (torch.bfloat16, torch.float16)
            actions = (actions.float() if wide else actions).numpy()
        encoded = self.core.adapter.encode_batch(actions, self.num_envs)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            returned = self._next_step(encoded)
        else:
            returned = self._step(encoded)
        self._show()
        return returned

    def _step(self, encoded: np.ndarray) -> tuple[Any, ...]:
        result = self.core.step(encoded)
        done = result.terminated | result.truncated
        observations, infos = self._frames_of(result), step_infos(result)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and done.any():
            infos = {}
            for i in np.flatnonzero(done).tolist():
                frame = observations[i]
                frame = frame.clone() if self.output == "torch" else frame.copy()
                final = {"final_obs": frame, "final_info": result.info(i)}
                infos = self._add_info(infos, final, i)
            begun = self.core.reset(done)
            for i in range(self.num_envs):
                infos = self._add_info(infos, begun[i] if done[i] else result.info(i), i)
            observations[done] = self._newest()[done]
        return self._returned(observations, result, infos)

    def _next_step(self, encoded: np.ndarray) -> tuple[Any, ...]:
        if self.core.state is None:
            raise ResetNeeded("call reset() before step().")
        fresh = self.core.finished.copy()
        if not fresh.any():
            return self._step(encoded)
        if fresh.all():
            # Nothing to imagine: every stream only delivers its first frame.
            begun = self.core.reset()
            zeros = self._out(np.zeros(self.num_envs))
            flags = [self._out(np.zeros(self.num_envs, np.bool_)) for _ in range(2)]
            return self._newest(), zeros, *flags, self._gather(begun)
        result = self.core.step(encoded, skip=fresh)
        begun = self.core.reset(fresh)
        observations = self._frames_of(result)
        observations[fresh] = self._newest()[fresh]
        for array in (result.rewards, result.terminated, result.truncated):
            array[fresh] = 0
        infos: dict[str, Any] = {}
        for i in range(self.num_envs):
            infos = self._add_info(infos, begun[i] if fresh[i] else result.info(i), i)
        return self._returned(observations, result, infos)

    def _newest(self) -> Any:
        """A copy of the newest frames of all streams, as the output wants them."""
        return self.core.frames.clone() if self.output == "torch" else self.core.observations

    def _frames_of(self, result: CoreStep) -> Any:
        """The frames of a step, as the output wants them, and nobody else's to write to."""
        return result.frames.clone() if self.output == "torch" else result.observations

    def _out(self, array: np.ndarray) -> Any:
        if self.output == "numpy":
            return array
        dtype = torch.float32 if array.dtype.kind == "f" else None
        return torch.as_tensor(array, dtype=dtype, device=self.core.device)

    def _returned(self, observations: Any, result: CoreStep, infos: dict[str, Any]) -> Any:
        numbers = (result.rewards, result.terminated, result.truncated)
        return observations, *(self._out(array) for array in numbers), infos

    def _gather(self, infos: dict[int, dict[str, Any]]) -> dict[str, Any]:
        gathered: dict[str, Any] = {}
        for i, info in infos.items():
            gathered = self._add_info(gathered, info, i)
        return gathered

    # -- snapshots -----------------------------------------------------------------------------

    def save_state(self, indices: Sequence[int] | None = None) -> Snapshot:
        """A snapshot of the streams at ``indices`` (default: all)."""
        return self.core.save(indices)

    def restore_state(
        self,
        snapshot: Snapshot,
        indices: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Returns the streams at ``indices`` (default: all) to a snapshot.

        Args:
            snapshot: of as many streams, or of one, which then becomes each of them: the same
                moment, to go on from under different actions.
            indices: the streams.
            seeds: one for each of them, to draw what is random from here on anew; by default the
                future stays the same.

        Returns:
            The newest frames of all streams, uint8 (B, H, W, 3).
        """
        self.core.restore(snapshot, indices, seeds)
        self._show()
        return self._newest()

    # -- rendering -----------------------------------------------------------------------------

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The newest frame of each stream; None in human mode, where the window has them."""
        return tuple(self.core.observations) if self.render_mode == "rgb_array" else None

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the window and a real environment that supplied starts."""
        self._window.close()
        self.core.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window.show(tile(self.core.observations))


def parse_autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    """``"next_step"``, ``"NextStep"`` or the enum itself as the enum.

    Raises:
        ValueError: if there is no such mode.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    for known in AutoresetMode:
        if str(mode).lower() in (known.name.lower(), known.value.lower()):
            return known
    names = ", ".join(repr(known.name.lower()) for known in AutoresetMode)
    raise ValueError(f"autoreset_mode={mode!r}: expected one of {names}.")


def step_infos(result: CoreStep) -> dict[str, Any]:
    """``info`` of a step without resets, as arrays with masks."""
    everyone = np.ones(len(result.steps), np.bool_)
    infos: dict[str, Any] = {}
    for key, values in (
        ("imagined_steps", result.steps),
        ("uncertainty", result.uncertainty),
        ("termination_probability", result.termination_probability),
    ):
        infos[key], infos[f"_{key}"] = values, everyone.copy()
    if result.truncated.any():
        infos["truncation_reason"] = result.truncation_reasons
        infos["_truncation_reason"] = result.truncated.copy()
    return infos


def _seeds(seed: int | Sequence[int | None] | None, count: int) -> list[int | None]:
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(count)]
    if len(seed) != count:
        raise ValueError(f"{len(seed)} seeds for {count} streams: give one for each, or a number.")
    return list(seed)


def _check_mask(mask: Any, count: int) -> None:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = f"{type(mask).__name__} of {getattr(mask, 'dtype', type(mask))}"
        raise TypeError(f"options['reset_mask'] is a {kind}; expected a NumPy array of bool.")
    if mask.shape != (count,):
        raise ValueError(f"options['reset_mask'] has shape {mask.shape}; expected ({count},).")
    if not mask.any():
        raise ValueError("options['reset_mask'] names no stream to reset: all are False.")
