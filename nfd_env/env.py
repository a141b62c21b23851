"""NFDWorldEnv: a learned world as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle

from nfd_env.building import (
    DEFAULT_WORLD,
    RENDER_MODES,
    EnvOptions,
    action_space,
    build_core,
    check_render_mode,
    observation_space,
)
from nfd_env.rendering import Window
from nfd_env.snapshot import Snapshot


class NFDWorldEnv(gym.Env[np.ndarray, Any], EzPickle):
    """One imagined episode at a time: actions in, the next frame, reward and end out.

    Observations are uint8 ``(H, W, 3)`` frames; the action space is that of the environment that
    the world was learned from, unless ``action_mode`` chooses another. Both come from the world,
    as does the default horizon.

    ``info`` holds ``imagined_steps`` (steps since the episode's start), ``uncertainty`` and
    ``termination_probability`` of the step; ``truncation_reason`` (``"horizon"`` or
    ``"uncertainty"``) where truncated; and after a reset ``episode_seed``: ``reset`` with it
    repeats the episode, however it was started.

    ``reset(options=...)`` takes ``frames``, uint8 (C, H, W, 3), the newest last, with their
    ``actions`` (C - 1 between the frames, or C with the one before the first); or ``snapshot``,
    what :meth:`save_state` returned: the same future again, or another one with a ``seed``.

    ``reset(seed=s)`` and then the same actions give the same episode, bit for bit. A reset
    without a seed goes on to the next episode of the sequence that the last seed began.

    The horizon is counted in here, so that snapshots restore it. ``gym.make`` keeps its own
    ``max_episode_steps`` to itself and wraps the environment in a ``TimeLimit``, which cuts
    episodes off all the same but knows nothing of snapshots and gives no ``truncation_reason``:
    to go back and forth in time under another horizon than the world's, set
    ``env.unwrapped.max_episode_steps``.

    Args:
        world: name, folder or hub id of a world, or ``"module:function"`` that makes one; past
            ``gym.make`` also a ``World`` or a rollout.
        action_mode: which space to face, where the world's actions follow a convention that has
            several: of Minecraft, ``"discrete"``, ``"multidiscrete"``, ``"minerl"`` and others,
            see :mod:`world_model.minecraft`. Default: the space that the world was trained on.
        device: ``"auto"`` (a GPU if there is one), or what torch calls a device.
        teacher: imagine with the many-step network that the world was distilled from, where it
            is kept beside it.
        sampling_steps: denoising steps per frame; default: the world's own.
        sampler: name of the sampler; default: the world's own.
        contexts: where episodes start: ``"bundled"`` clips of where recorded ones start,
            ``"moments"`` in their midst (for short episodes), the folder of a data set (anywhere in
            the episodes of its training split; ``"folder#validation"`` or ``"folder#all"`` for
            others), the id of a Gymnasium environment, ``"module:function"`` that makes an
            environment, or a list of these to mix.
        max_episode_steps: truncate episodes after so many imagined steps, wherever in a recorded
            episode they started; default: the world's own.
        endless: never terminate and ignore the horizon.
        max_uncertainty: truncate an episode where a step's uncertainty exceeds this; what it means
            depends on ``sampling_steps``, and ``nfd evaluate --measure uncertainty`` recommends a
            limit for each.
        reward_mode: ``"expected"``, ``"sample"`` or ``"threshold"``; default: expected.
        termination_mode: ``"sample"``, ``"threshold"`` or ``"never"``; default: sampled.
        pessimism: added to the logit of termination; above 0 imagined episodes end sooner than
            the world believes. An agent in training finds whatever a world is too lenient about.
        precision: ``"float32"`` (the default), ``"bfloat16"``, or ``"auto"`` for the faster one.
            With bfloat16 frames depend more on the number of streams; they stay reproducible.
        cuda_graphs: on a GPU, capture whole steps and replay them (the default): launching their
            kernels one by one would take most of the time.
        compile: compile a step's parts (``torch.compile``): steps are faster, after a minute or
            more at the first one. For long runs; needs a C++ compiler on a CPU.
        speculation: have the next frame ready before its action is known: ``"ahead"``, ``"branch"``
            or ``"joint"`` (the paper's; not exact), see :mod:`world_model.speculation`; ``"off"``;
            or ``"auto"``, the default: ahead while it pays, which changes no frame.
        speculation_depth: steps ahead, actions at once, or frames in one go; default: chosen.
        reward_function: replaces the world's reward: ``f(frames, actions, next_frames)``, or its
            ``"module:function"``, see :data:`nfd_env.core.RewardFunction`.
        render_mode: ``"rgb_array"``, ``"human"`` (a window; needs pygame) or None.

    Raises:
        WorldNotFoundError: if no such world exists.
        WorldFormatError: if its folder is damaged.
        ConfigError: if the world keeps no teacher, and one is asked for.
        ConfigError: if the world has no such ``action_mode``.
        ConfigError: if it cannot speculate so, as ``joint`` where the network is given previous
            frames.
        ContextError: if ``contexts`` names nothing, or does not fit the world.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 20}

    def __init__(
        self,
        world: str | Path | Any = DEFAULT_WORLD,
        *,
        render_mode: str | None = None,
        **options: Unpack[EnvOptions],
    ) -> None:
        EzPickle.__init__(self, world, render_mode=render_mode, **options)
        self.render_mode = check_render_mode(render_mode)
        self.core = build_core(1, world, **options)
        self.world = self.core.world
        self.observation_space = observation_space(self.core)
        self.action_space = action_space(self.core)
        self.metadata = {**self.metadata, "render_fps": float(self.world.config.fps)}
        self._window = Window(f"NFD-World {self.world.config.name}", self.world.config.fps)

    @property
    def model_id(self) -> str:
        """Name, version and content hash of the world: ``doom-take-cover@1#0123456789ab``."""
        return self.world.model_id

    @property
    def max_episode_steps(self) -> int | None:
        """The horizon; may be set between steps."""
        return self.core.limits.max_episode_steps

    @max_episode_steps.setter
    def max_episode_steps(self, steps: int | None) -> None:
        self.core.set_max_episode_steps(steps)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; see the class for ``seed`` and ``options``.

        Raises:
            ContextError: if there is nothing to start from, or the options do not fit.
        """
        super().reset(seed=seed)
        info = self.core.reset(seeds=[seed], options=[options or {}])[0]
        self._show()
        return self.core.observation(0), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Imagines the next frame.

        Raises:
            ActionError: if the action is not in the action space.
            ResetNeeded: if the episode has ended.
        """
        result = self.core.step(self.core.adapter.encode(action)[None])
        self._show()
        return result.single()

    def hint(self, actions: Sequence[Any]) -> None:
        """Names the actions that are likely at the next step, the likeliest first.

        Speculation then prepares these instead of the last action. A wrong hint costs time and
        changes nothing; without speculation it does nothing at all.

        Raises:
            ActionError: if one is not in the action space.
            ResetNeeded: before the first reset.
        """
        encoded = [self.core.adapter.encode(action) for action in actions]
        if encoded:
            self.core.hint(np.stack(encoded))

    @property
    def speculation(self) -> dict[str, Any] | None:
        """What speculation brought and cost so far, see :class:`SpeculationCounts`; None: off."""
        counts = getattr(self.core.rollout, "counts", None)
        return None if counts is None else counts.to_dict()

    def save_state(self) -> Snapshot:
        """A snapshot of this moment, to return to or to branch from."""
        return self.core.save()

    def restore_state(self, snapshot: Snapshot, seed: int | None = None) -> np.ndarray:
        """Returns to a snapshot of the same world.

        Args:
            snapshot: what :meth:`save_state` returned.
            seed: draw what is random from here on anew; by default the future stays the same.

        Returns:
            The frame that was last seen then.

        Raises:
            ContextError: if it is no snapshot of this world and of one stream.
        """
        self.core.restore(snapshot, seeds=None if seed is None else [seed])
        self._show()
        return self.core.observation(0)

    def render(self) -> np.ndarray | None:
        """The newest frame, uint8 (H, W, 3); None in human mode, where the window has it."""
        return self.core.observation(0) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Closes the window, what computes ahead, and a real environment that supplied starts.

        Twice is fine.
        """
        self._window.close()
        self.core.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window.show(self.core.observation(0))
