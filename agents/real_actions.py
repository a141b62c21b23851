"""The actions of a real environment: within bounds, and by their names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from world_model.action_spaces import groups_of
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError

UNBOUNDED = 1e6
"""Numbers beyond this are no bound that a network could be given actions by."""


def bounded(space: spaces.Space[Any], limit: float | None, what: str) -> spaces.Space[Any]:
    """The part of an action space that lies within bounds.

    Args:
        space: the space.
        limit: what takes the place of a missing bound, with either sign.
        what: name of the environment, for errors.

    Raises:
        ActionError: if a bound is missing, and there is no ``limit``, or it is beyond the other.
    """
    if isinstance(space, spaces.Dict):  # a plain dict would be sorted
        parts = ((name, bounded(sub, limit, what)) for name, sub in space.spaces.items())
        return spaces.Dict(OrderedDict(parts))
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([bounded(sub, limit, what) for sub in space.spaces])
    if not isinstance(space, spaces.Box):
        return space
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    open_low, open_high = low < -UNBOUNDED, high > UNBOUNDED
    if not (open_low.any() or open_high.any()):
        return space
    if limit is None:
        raise ActionError(
            f"the action space of {what} has no bounds: {space}. Say how far its numbers may go, "
            "as in --action-limit 10."
        )
    low, high = np.where(open_low, -limit, low), np.where(open_high, limit, high)
    if (low >= high).any():
        raise ActionError(f"action_limit={limit} leaves nothing of the action space {space}.")
    dtype: Any = space.dtype
    return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)


def named_spec(space: spaces.Space[Any], names: Sequence[str] | None) -> ActionSpec:
    """The actions of ``space``, by name where it fits.

    Args:
        space: the action space.
        names: for a Discrete space one for each action, else one for each column.

    Raises:
        ActionError: if the space is of an unsupported kind.
    """
    if names is None or isinstance(space, spaces.Discrete):
        return ActionSpec.from_space(space, names)
    plain = ActionSpec.from_space(space)
    if len(names) != plain.dim:
        return plain
    groups, column = [], 0
    for group in groups_of(space, "action"):
        part = tuple(names[column : column + group.columns])
        column += group.columns
        if group.kind == "categorical":
            labels = group.labels
            if labels and labels[0] == f"{group.name}=0":
                labels = tuple(f"{part[0]}={i}" for i in range(group.size))
            groups.append(replace(group, name=part[0], labels=labels))
        else:
            groups.append(replace(group, labels=part))
    return ActionSpec(space, groups)


def first_action(spec: ActionSpec) -> Any:
    """The first choice of every group, and numbers as near to 0 as they may be: most often rest."""
    parts = [np.clip(0, g.low, g.high) if g.low else np.zeros(1) for g in spec.groups]
    return spec.decode(np.concatenate(parts).astype(np.float32))
