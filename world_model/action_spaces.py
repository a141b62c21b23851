"""Gymnasium spaces taken apart: their groups, their numbers, their JSON.

Each function walks Discrete, MultiDiscrete, MultiBinary, Box, and Dict or Tuple of these, in the
order that decides the columns of :class:`world_model.action_spec.ActionSpec`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from world_model.companding import Companding
from world_model.errors import ActionError


@dataclass(frozen=True)
class ActionGroup:
    """Neighbouring columns of the action vector that belong together."""

    name: str
    """What the group controls, such as ``turn`` or ``camera``."""
    kind: str
    """``categorical`` (one column, an index) or ``continuous`` (``size`` columns)."""
    size: int
    """Number of choices (categorical) or number of columns (continuous)."""
    labels: tuple[str, ...] = ()
    """A name for every choice or column."""
    low: tuple[float, ...] = ()
    """Lower bound per column (continuous)."""
    high: tuple[float, ...] = ()
    """Upper bound per column (continuous)."""
    whole: bool = False
    """Whether the numbers are whole ones (a Box of integers)."""
    companding: Companding | None = None
    """Curve by which networks are given the numbers (continuous); None: as they are."""

    @property
    def columns(self) -> int:
        """Number of columns this group takes in the action vector."""
        return 1 if self.kind == "categorical" else self.size


def readable(label: str) -> str:
    """A label as people are shown it; only those that nobody chose change.

    Labels themselves stay as they are: worlds, hashes and scripts hold them.

    >>> readable("action=1"), readable("action.0=2"), readable("action.3"), readable("turn=1")
    ('Action 1', 'Action 0: 2', 'Action 3', 'turn 1')
    >>> readable("move_left"), readable("forward+jump"), readable("speed 0.5")
    ('move_left', 'forward+jump', 'speed 0.5')
    """
    shown = re.sub(r"^action(?=[.=]\d)", "Action", label)
    shown = re.sub(r"(?<=[^\d\s.])\.(?=\d)", " ", shown)
    name, choice, number = shown.partition("=")
    if not (choice and number.isdecimal()):
        return shown
    return f"{name}: {number}" if name[-1:].isdigit() else f"{name} {number}"


def groups_of(space: spaces.Space, name: str) -> Iterator[ActionGroup]:
    """The groups of a space, in the order of its columns.

    Raises:
        ActionError: if the space is of an unsupported kind.
    """
    if isinstance(space, spaces.Discrete):
        yield _categorical(name, int(space.n))
    elif isinstance(space, spaces.MultiDiscrete):
        for i, n in enumerate(np.asarray(space.nvec).ravel()):
            yield _categorical(f"{name}.{i}", int(n))
    elif isinstance(space, spaces.MultiBinary):
        for i in range(int(np.prod(space.shape))):
            yield ActionGroup(f"{name}.{i}", "categorical", 2, ("off", "on"))
    elif isinstance(space, spaces.Box):
        size = int(np.prod(space.shape))
        yield ActionGroup(
            name,
            "continuous",
            size,
            tuple(f"{name}.{i}" for i in range(size)),
            tuple(float(x) for x in np.asarray(space.low).ravel()),
            tuple(float(x) for x in np.asarray(space.high).ravel()),
            np.dtype(space.dtype).kind in "biu",
        )
    elif isinstance(space, spaces.Dict):
        for key, sub in space.spaces.items():
            yield from groups_of(sub, key if name == "action" else f"{name}.{key}")
    elif isinstance(space, spaces.Tuple):
        for i, sub in enumerate(space.spaces):
            yield from groups_of(sub, f"{name}.{i}")
    else:
        raise ActionError(
            f"action space {space} is not supported. Use Discrete, MultiDiscrete, MultiBinary, "
            "Box, or a Dict or Tuple of these."
        )


def _categorical(name: str, n: int) -> ActionGroup:
    return ActionGroup(name, "categorical", n, tuple(f"{name}={i}" for i in range(n)))


def flatten(space: spaces.Space, action: Any, count: int | None = None) -> Iterator[np.ndarray]:
    """Yields the columns of ``action``, categorical choices counted from 0.

    With a ``count``, of so many actions in one, as Gymnasium's ``batch_space`` has them: every
    array then has a leading axis of that length.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(action, Mapping) or set(action) != set(space.spaces):
            raise ValueError(f"expected the keys {sorted(space.spaces)}")
        for key, sub in space.spaces.items():
            yield from flatten(sub, action[key], count)
    elif isinstance(space, spaces.Tuple):
        if len(action) != len(space.spaces):
            raise ValueError(f"expected {len(space.spaces)} parts")
        for sub, part in zip(space.spaces, action, strict=True):
            yield from flatten(sub, part, count)
    else:
        array = np.asarray(action)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"expected numbers, got dtype {array.dtype}")
        expected = (*(() if count is None else (count,)), *(space.shape or ()))
        if array.shape != expected:
            raise ValueError(f"expected shape {expected}, got {array.shape}")
        # In the action's own type: float32 cannot tell large neighbouring integers apart.
        yield array - np.asarray(getattr(space, "start", 0))


def unflatten(space: spaces.Space, vector: np.ndarray, at: int) -> tuple[Any, int]:
    """The action of ``space`` whose columns begin at ``at``, and where they end."""
    if isinstance(space, spaces.Dict):
        parts = {}
        for key, sub in space.spaces.items():
            parts[key], at = unflatten(sub, vector, at)
        return parts, at
    if isinstance(space, spaces.Tuple):
        items = []
        for sub in space.spaces:
            item, at = unflatten(sub, vector, at)
            items.append(item)
        return tuple(items), at
    size = int(np.prod(space.shape or ()))
    flat = vector[at : at + size].reshape(space.shape or ())
    if isinstance(space, spaces.Discrete):
        return space.dtype.type(flat) + space.start, at + size
    if isinstance(space, spaces.MultiDiscrete):
        return flat.astype(space.dtype) + np.asarray(space.start, space.dtype), at + size
    if isinstance(space, spaces.Box):  # float32 may have rounded beyond a bound of float64
        clipped = np.clip(flat.astype(space.dtype), space.low, space.high)
        return np.asarray(clipped), at + size
    return flat.astype(space.dtype), at + size


def _unusual_dtype(space: spaces.Space) -> dict[str, str]:
    """The dtype of a space of choices, unless it is Gymnasium's default."""
    return {} if space.dtype == np.int64 else {"dtype": str(space.dtype)}


def space_to_dict(space: spaces.Space) -> dict[str, Any]:
    """JSON-able description of a space, read back by :func:`space_from_dict`."""
    if isinstance(space, spaces.Discrete):
        described = {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
        return described | _unusual_dtype(space)
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = np.asarray(space.nvec).tolist(), np.asarray(space.start).tolist()
        return {"type": "MultiDiscrete", "nvec": nvec, "start": start} | _unusual_dtype(space)
    if isinstance(space, spaces.MultiBinary):
        # Gymnasium tells MultiBinary(4) from MultiBinary([4]).
        flat = {"n": int(space.n)} if isinstance(space.n, int | np.integer) else {}
        return {"type": "MultiBinary", "shape": [int(n) for n in space.shape]} | flat
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "low": np.asarray(space.low, np.float64).tolist(),
            "high": np.asarray(space.high, np.float64).tolist(),
            "shape": list(space.shape),
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.Dict):
        # A list keeps the order of the keys, which decides the order of the columns.
        items = [[key, space_to_dict(sub)] for key, sub in space.spaces.items()]
        return {"type": "Dict", "spaces": items}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [space_to_dict(sub) for sub in space.spaces]}
    raise ActionError(f"action space {space} is not supported.")


def space_from_dict(data: Mapping[str, Any]) -> spaces.Space:
    """Rebuilds a space; a damaged description raises whatever it trips over."""
    kind = data["type"]
    other = {"dtype": np.dtype(data["dtype"]).type} if "dtype" in data else {}
    if kind == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"], **other)
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(np.array(data["nvec"]), start=np.array(data["start"]), **other)
    if kind == "MultiBinary":
        return spaces.MultiBinary(data.get("n", data["shape"]))
    if kind == "Box":
        dtype = np.dtype(data["dtype"])
        low = np.array(data["low"], dtype).reshape(data["shape"])
        high = np.array(data["high"], dtype).reshape(data["shape"])
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Dict":
        # Gymnasium sorts the keys of a plain dict.
        return spaces.Dict(OrderedDict((k, space_from_dict(sub)) for k, sub in data["spaces"]))
    if kind == "Tuple":
        return spaces.Tuple([space_from_dict(sub) for sub in data["spaces"]])
    raise ValueError(f"unknown space type {kind!r}")
