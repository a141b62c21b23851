"""Builds the core that the faces of the environment share from their keyword arguments."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from gymnasium import spaces

from nfd_env.action_adapter import find_adapter
from nfd_env.core import ImaginedCore, RewardFunction
from nfd_env.loading import load_object, load_rollout
from nfd_env.starts import make_starts
from nfd_env.trust import TrustLimits

DEFAULT_WORLD = "doom-take-cover"
RENDER_MODES = ("rgb_array", "human")


class EnvOptions(TypedDict, total=False):
    """What each face of the environment takes by keyword, all of it explained in NFDWorldEnv.

    For type checkers and editors: at run time :func:`build_core` refuses other names.
    """

    action_mode: str | None
    device: str
    teacher: bool
    sampling_steps: int | None
    sampler: str | None
    contexts: Any
    max_episode_steps: int | None
    endless: bool
    max_uncertainty: float | None
    reward_mode: str | None
    termination_mode: str | None
    pessimism: float | None
    precision: str | None
    cuda_graphs: bool | None
    compile: bool | None
    speculation: str
    speculation_depth: int | None
    reward_function: str | RewardFunction | None


def build_core(
    num_envs: int,
    world: str | Path | Any,
    /,
    *,
    action_mode: str | None = None,
    device: str = "auto",
    teacher: bool = False,
    sampling_steps: int | None = None,
    sampler: str | None = None,
    contexts: Any = "bundled",
    max_episode_steps: int | None = None,
    endless: bool = False,
    max_uncertainty: float | None = None,
    reward_mode: str | None = None,
    termination_mode: str | None = None,
    pessimism: float | None = None,
    precision: str | None = None,
    cuda_graphs: bool | None = None,
    compile: bool | None = None,
    speculation: str = "auto",
    speculation_depth: int | None = None,
    reward_function: str | RewardFunction | None = None,
) -> ImaginedCore:
    """The core of ``num_envs`` streams; the keywords are those of :class:`EnvOptions`."""
    world, rollout = load_rollout(
        world,
        device,
        teacher=teacher,
        sampling_steps=sampling_steps,
        sampler=sampler,
        reward_mode=reward_mode,
        termination_mode=termination_mode,
        pessimism=pessimism,
        precision=precision,
        cuda_graphs=cuda_graphs,
        compile=compile,
    )
    adapter = find_adapter(world, action_mode)
    from world_model.speculation import speculative  # torch and all that follows

    rollout = speculative(rollout, speculation, speculation_depth, streams=num_envs)
    if max_episode_steps is None:
        max_episode_steps = world.config.max_episode_steps
    if isinstance(reward_function, str):
        reward_function = load_object(reward_function)
    return ImaginedCore(
        world,
        rollout,
        num_envs,
        make_starts(contexts, world),
        TrustLimits(max_episode_steps, max_uncertainty),
        endless=endless,
        reward_function=reward_function,
        adapter=adapter,
    )


def observation_space(core: ImaginedCore) -> spaces.Box:
    """Space of one stream's frames: uint8 (H, W, 3)."""
    return spaces.Box(0, 255, tuple(core.world.config.frame_shape), np.uint8)


def action_space(core: ImaginedCore) -> spaces.Space[Any]:
    """Space of one stream's actions; a copy, as sampling from a space changes its generator."""
    return deepcopy(core.adapter.space)


def check_render_mode(render_mode: str | None) -> str | None:
    """Returns ``render_mode`` if there is such a one.

    Raises:
        ValueError: if there is not.
    """
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode={render_mode!r}: expected None or one of {RENDER_MODES}.")
    return render_mode
