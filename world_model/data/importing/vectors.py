"""Action spaces of tables that do not tell theirs: read off the actions that were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, DataError

NOT_FINITE = "actions or rewards that are no finite numbers: what was done then is unknown"
MOST_CHOICES = 65536


def spec_of_columns(actions: np.ndarray, names: Sequence[str] = ()) -> ActionSpec:
    """The actions of a table: choices where numbers are whole by their type, else a Box.

    A Box reaches from the smallest to the largest number that was seen in each column.

    Args:
        actions: (rows, K), all of them.
        names: of the columns, if there are K.

    Raises:
        DataError: if there is none, or whole ones are negative or very large.
    """
    dim = actions.shape[1]
    if not actions.size:
        raise DataError("there are no actions.")
    names = tuple(names) if len(set(names)) == len(names) == dim else ()
    if actions.dtype.kind in "biu":
        low, high = actions.min(axis=0).astype(np.int64), actions.max(axis=0).astype(np.int64)
        if low.min() < 0 or high.max() >= MOST_CHOICES:
            raise DataError(
                f"whole actions from {low.min()} to {high.max()} are no choices counted from 0. "
                "Store them as floating-point numbers, which become a Box."
            )
        counts = np.maximum(high + 1, 2)
        if dim == 1:
            return ActionSpec.from_space(spaces.Discrete(int(counts[0])))
        spec = ActionSpec.from_space(spaces.MultiDiscrete(counts))
        groups = [
            replace(group, name=name, labels=tuple(f"{name}={i}" for i in range(group.size)))
            for group, name in zip(spec.groups, names, strict=False)
        ]
        return ActionSpec(spec.space, groups or spec.groups)
    finite = np.isfinite(actions)
    low = np.where(finite, actions, np.inf).min(axis=0)
    high = np.where(finite, actions, -np.inf).max(axis=0)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        raise DataError("a column of actions has no finite number.")
    low, high = low.astype(np.float32), high.astype(np.float32)
    high = np.where(high > low, high, low + 1).astype(np.float32)  # a column that never changed
    spec = ActionSpec.from_space(spaces.Box(low, high, dtype=np.float32))
    return ActionSpec(spec.space, [replace(spec.groups[0], labels=names or spec.groups[0].labels)])


def encoded(actions: np.ndarray, spec: ActionSpec) -> np.ndarray:
    """The actions as float32 (rows, K); NaN in all columns of those that the space lacks."""
    vectors = actions.astype(np.float32)
    vectors[~np.isfinite(vectors).all(axis=1)] = np.nan
    good = ~np.isnan(vectors[:, 0])
    try:
        spec.check(vectors[good])
    except ActionError:
        for row in np.flatnonzero(good):  # which of them it is
            try:
                spec.check(vectors[row][None])
            except ActionError:
                vectors[row] = np.nan
    return vectors
