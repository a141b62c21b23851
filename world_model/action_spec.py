"""ActionSpec: any Gymnasium action space as one flat float32 vector, and back.

The vector has one column per categorical group (a Discrete, one entry of a MultiDiscrete, one
bit of a MultiBinary), holding the index of the choice counted from 0, and one column per number
of a Box. A row of NaN is the null action: the one "before" the first frame of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

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

    @property
    def columns(self) -> int:
        """Number of columns this group takes in the action vector."""
        return 1 if self.kind == "categorical" else self.size


class ActionSpec:
    """Translates actions of a Gymnasium space to and from flat float32 vectors of ``dim`` columns.

    >>> spec = ActionSpec.from_space(spaces.Discrete(3), names=["stay", "left", "right"])
    >>> spec.encode(2)
    array([2.], dtype=float32)
    >>> spec.decode(spec.encode(2))
    np.int64(2)
    >>> spec.describe(spec.encode(1))
    'left'
    """

    def __init__(self, space: spaces.Space, groups: Sequence[ActionGroup]) -> None:
        self.space = space
        self.groups = tuple(groups)
        self.dim = sum(group.columns for group in self.groups)

    @classmethod
    def from_space(cls, space: spaces.Space, names: Sequence[str] | None = None) -> ActionSpec:
        """Builds the spec of ``space``.

        Args:
            space: Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of these.
            names: a name for every action of a Discrete space (optional).

        Raises:
            ActionError: if the space is of another kind, or ``names`` has the wrong length.
        """
        groups = list(_groups_of(space, "action"))
        if names is not None:
            if not isinstance(space, spaces.Discrete) or len(names) != space.n:
                raise ActionError(
                    f"names={list(names)} fits no such space: {space}. Names are for Discrete "
                    "spaces, one for each action."
                )
            group = groups[0]
            groups[0] = ActionGroup(group.name, group.kind, group.size, tuple(names))
        return cls(space, groups)

    # -- vectors -------------------------------------------------------------------------------

    def encode(self, action: Any) -> np.ndarray:
        """One action of the space as a float32 vector of shape (dim,).

        Raises:
            ActionError: if the action is not in the space (NaN included).
        """
        try:
            parts = [np.asarray(part, np.float32).ravel() for part in _flatten(self.space, action)]
        except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
            raise ActionError(f"action {action!r} does not fit {self.space}: {error}.") from error
        vector = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self.check(vector[None], what=repr(action))
        return vector

    def encode_batch(self, actions: Any, count: int) -> np.ndarray:
        """``count`` actions, batched as Gymnasium's ``batch_space`` does, as float32 (count, dim).

        Raises:
            ActionError: if the number of actions is not ``count``, or one is not in the space.
        """
        if not isinstance(self.space, spaces.Dict | spaces.Tuple):
            array = np.asarray(actions)
            if array.shape != (count, *(self.space.shape or ())):
                raise ActionError(
                    f"expected {count} actions of {self.space}, that is an array of shape "
                    f"{(count, *(self.space.shape or ()))}, but got shape {array.shape}."
                )
            if array.dtype.kind not in "biuf":
                raise ActionError(f"actions have dtype {array.dtype}; expected numbers.")
            flat = array.reshape(count, -1).astype(np.float32)
            vector = flat - self._starts()
            self.check(vector, what=f"one of {array.tolist()}")
            return vector
        from gymnasium.vector.utils import iterate

        batched = _batched(self.space, count)
        rows = [self.encode(action) for action in iterate(batched, actions)]
        if len(rows) != count:
            raise ActionError(f"expected {count} actions of {self.space}, but got {len(rows)}.")
        return np.stack(rows)

    def decode(self, vector: np.ndarray) -> Any:
        """The action of the space that ``vector`` (dim,) stands for.

        Raises:
            ActionError: if the vector is the null action or does not fit.
        """
        vector = np.asarray(vector, np.float32)
        if vector.shape != (self.dim,):
            raise ActionError(f"action vector has shape {vector.shape}; expected ({self.dim},).")
        if np.isnan(vector).any():
            raise ActionError("the null action has no counterpart in the action space.")
        action, used = _unflatten(self.space, vector, 0)
        assert used == self.dim
        return action

    def null(self) -> np.ndarray:
        """The null action: float32 (dim,) of NaN."""
        return np.full(self.dim, np.nan, np.float32)

    def check(self, vectors: np.ndarray, *, what: str | None = None) -> None:
        """Raises ActionError unless every row of ``vectors`` (B, dim) is an action of the space."""
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ActionError(
                f"action vectors have shape {vectors.shape}; expected (batch, {self.dim})."
            )
        column = 0
        for group in self.groups:
            part = vectors[:, column : column + group.columns]
            column += group.columns
            if group.kind == "categorical":
                good = (part >= 0) & (part < group.size) & (part == np.floor(part))
                allowed = f"an integer choice of {group.size} ({', '.join(group.labels)})"
            else:
                good = (part >= np.asarray(group.low)) & (part <= np.asarray(group.high))
                allowed = f"numbers in [{min(group.low):g}, {max(group.high):g}]"
            if not good.all():  # NaN compares False, so it lands here too
                bad = what if what is not None else str(part[~good.all(axis=1)][0].tolist())
                raise ActionError(
                    f"action {bad} is outside the action space {self.space}: "
                    f"'{group.name}' takes {allowed}."
                )

    def describe(self, vector: np.ndarray) -> str:
        """A short readable name of an action vector, such as ``left`` or ``turn=left look=0.5``."""
        vector = np.asarray(vector, np.float32)
        if np.isnan(vector).any():
            return "null"
        words, column = [], 0
        for group in self.groups:
            part = vector[column : column + group.columns]
            column += group.columns
            if group.kind == "categorical":
                text = group.labels[int(part[0])]
            else:
                text = ",".join(f"{value:.3g}" for value in part)
            words.append(text if len(self.groups) == 1 else f"{group.name}={text}")
        return " ".join(words)

    # -- serialisation -------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, read back by :meth:`from_dict`."""
        return {
            "space": _space_to_dict(self.space),
            "labels": [list(group.labels) for group in self.groups],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ActionSpec:
        """Rebuilds a spec from :meth:`to_dict`.

        Raises:
            ActionError: if the description is damaged.
        """
        try:
            space = _space_from_dict(data["space"])
            groups = [
                ActionGroup(g.name, g.kind, g.size, tuple(labels), g.low, g.high)
                for g, labels in zip(_groups_of(space, "action"), data["labels"], strict=True)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ActionError(f"damaged description of an action space: {error!r}.") from error
        return cls(space, groups)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActionSpec) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((str(self.space), self.groups))

    def __repr__(self) -> str:
        return f"ActionSpec({self.space}, dim={self.dim})"

    def _starts(self) -> np.ndarray:
        """Per column, the smallest index of a categorical group in the space (0 for a Box)."""
        if isinstance(self.space, spaces.Discrete):
            return np.asarray([self.space.start], np.float32)
        if isinstance(self.space, spaces.MultiDiscrete):
            return np.asarray(self.space.start, np.float32).ravel()
        return np.zeros(self.dim, np.float32)


def _groups_of(space: spaces.Space, name: str) -> Iterator[ActionGroup]:
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
        )
    elif isinstance(space, spaces.Dict):
        for key, sub in space.spaces.items():
            yield from _groups_of(sub, key if name == "action" else f"{name}.{key}")
    elif isinstance(space, spaces.Tuple):
        for i, sub in enumerate(space.spaces):
            yield from _groups_of(sub, f"{name}.{i}")
    else:
        raise ActionError(
            f"action space {space} is not supported. Use Discrete, MultiDiscrete, MultiBinary, "
            "Box, or a Dict or Tuple of these."
        )


def _categorical(name: str, n: int) -> ActionGroup:
    return ActionGroup(name, "categorical", n, tuple(f"{name}={i}" for i in range(n)))


def _flatten(space: spaces.Space, action: Any) -> Iterator[np.ndarray]:
    """Yields the columns of ``action``, categorical choices counted from 0."""
    if isinstance(space, spaces.Dict):
        if not isinstance(action, Mapping) or set(action) != set(space.spaces):
            raise ValueError(f"expected the keys {sorted(space.spaces)}")
        for key, sub in space.spaces.items():
            yield from _flatten(sub, action[key])
    elif isinstance(space, spaces.Tuple):
        if len(action) != len(space.spaces):
            raise ValueError(f"expected {len(space.spaces)} parts")
        for sub, part in zip(space.spaces, action, strict=True):
            yield from _flatten(sub, part)
    else:
        array = np.asarray(action)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"expected numbers, got dtype {array.dtype}")
        if array.shape != (space.shape or ()):
            raise ValueError(f"expected shape {space.shape or ()}, got {array.shape}")
        start = getattr(space, "start", 0)
        yield array.astype(np.float32) - np.asarray(start, np.float32)


def _unflatten(space: spaces.Space, vector: np.ndarray, at: int) -> tuple[Any, int]:
    if isinstance(space, spaces.Dict):
        parts = {}
        for key, sub in space.spaces.items():
            parts[key], at = _unflatten(sub, vector, at)
        return parts, at
    if isinstance(space, spaces.Tuple):
        items = []
        for sub in space.spaces:
            item, at = _unflatten(sub, vector, at)
            items.append(item)
        return tuple(items), at
    size = int(np.prod(space.shape or ()))
    flat = vector[at : at + size].reshape(space.shape or ())
    if isinstance(space, spaces.Discrete):
        return np.int64(flat) + space.start, at + size
    if isinstance(space, spaces.MultiDiscrete):
        return flat.astype(space.dtype) + np.asarray(space.start, space.dtype), at + size
    return flat.astype(space.dtype), at + size


def _batched(space: spaces.Space, count: int) -> spaces.Space:
    from gymnasium.vector.utils import batch_space

    return batch_space(space, count)


def _space_to_dict(space: spaces.Space) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = np.asarray(space.nvec).tolist(), np.asarray(space.start).tolist()
        return {"type": "MultiDiscrete", "nvec": nvec, "start": start}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "shape": [int(n) for n in space.shape]}
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
        items = [[key, _space_to_dict(sub)] for key, sub in space.spaces.items()]
        return {"type": "Dict", "spaces": items}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [_space_to_dict(sub) for sub in space.spaces]}
    raise ActionError(f"action space {space} is not supported.")


def _space_from_dict(data: Mapping[str, Any]) -> spaces.Space:
    kind = data["type"]
    if kind == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(np.array(data["nvec"]), start=np.array(data["start"]))
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["shape"])
    if kind == "Box":
        dtype = np.dtype(data["dtype"])
        low = np.array(data["low"], dtype).reshape(data["shape"])
        high = np.array(data["high"], dtype).reshape(data["shape"])
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Dict":
        return spaces.Dict({key: _space_from_dict(sub) for key, sub in data["spaces"]})
    if kind == "Tuple":
        return spaces.Tuple([_space_from_dict(sub) for sub in data["spaces"]])
    raise ValueError(f"unknown space type {kind!r}")
