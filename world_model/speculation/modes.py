"""The modes of speculation by name."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces

from world_model.errors import ConfigError
from world_model.protocol import RolloutProtocol
from world_model.rollout import Rollout
from world_model.speculation.ahead import AheadRollout
from world_model.speculation.branch import BranchRollout
from world_model.speculation.joint import JointRollout

MODES = ("auto", "off", "ahead", "branch", "joint")

DEEPEST = 4
"""Depth that is not exceeded where it is chosen by measurement."""


def speculative(
    rollout: RolloutProtocol[Any],
    mode: str = "auto",
    depth: int | None = None,
    *,
    streams: int = 1,
) -> Any:
    """``rollout`` with speculation.

    Args:
        rollout: a plain one.
        mode: ``off``; ``ahead``, ``branch`` or ``joint``, see :mod:`world_model.speculation`; or
            ``auto``: ``ahead`` for one stream, only while it pays, and off for a batch.
        depth: steps ahead (``ahead``), actions at once (``branch``) or frames in one go
            (``joint``). None: one step, for ``auto`` as many as pay; all actions of a small
            Discrete space; or as many frames as pay where actions repeat as often as they have so
            far in the episode (on a CPU, one).
        streams: how many will be imagined. A batch has no use for speculation: its arithmetic is
            all needed, and its streams hardly ever all do what was expected.

    Returns:
        A rollout; ``rollout`` itself for ``off``.

    Raises:
        ConfigError: if there is no such mode, if it is not for a batch, or not for this world.
        ValueError: if the depth is below 1.
    """
    if mode not in MODES:
        raise ConfigError(f"speculation={mode!r}: expected one of {', '.join(MODES)}.")
    if depth is not None and (isinstance(depth, bool) or int(depth) != depth or depth < 1):
        raise ValueError(f"speculation_depth must be a whole number of at least 1, not {depth}.")
    if mode == "off":
        return rollout
    if streams != 1:
        if mode == "auto":
            return rollout
        raise ConfigError(
            f"speculation={mode!r} is for one stream, not {streams}. Use 'auto' or 'off'."
        )
    if mode == "auto":
        if not isinstance(rollout, Rollout):  # an analytic one has nothing to wait for
            return rollout
        return AheadRollout(rollout, depth or DEEPEST, adaptive=True)
    if mode == "ahead":
        return AheadRollout(rollout, depth or 1)
    if mode == "branch":
        space = rollout.world.action_spec.space  # type: ignore[attr-defined]
        actions = int(space.n) if isinstance(space, spaces.Discrete) else DEEPEST
        return BranchRollout(rollout, depth or min(actions, DEEPEST))
    if not isinstance(rollout, Rollout):
        raise ConfigError(
            f"speculation='joint' needs a diffusion world, not {type(rollout).__name__}."
        )
    cost = marginal_cost(rollout.device)
    return JointRollout(rollout, depth or DEEPEST, adaptive=depth is None, marginal_cost=cost)


def marginal_cost(device: torch.device) -> float:
    """What one more frame in a go of ``joint`` costs, relative to the first.

    A number for each kind of device, not a measured one: ``joint`` is not exact, so that a depth
    chosen by a clock would change frames. On a CPU a frame costs as much as the first, and nothing
    is to be gained.
    """
    return 0.25 if device.type == "cuda" else 1.0
