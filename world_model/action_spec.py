"""ActionSpec: any Gymnasium action space as one flat float32 vector, and back.

The vector has one column per categorical group (a Discrete, one entry of a MultiDiscrete, one
bit of a MultiBinary), holding the index of the choice counted from 0, and one column per number
of a Box. A row of NaN is the null action: the one "before" the first frame of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from world_model.action_spaces import (
    ActionGroup,
    batched,
    flatten,
    groups_of,
    space_from_dict,
    space_to_dict,
    unflatten,
)
from world_model.errors import ActionError


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
            ActionError: if the space is of another kind or empty, or ``names`` has the wrong
                length.
        """
        groups = list(groups_of(space, "action"))
        if not sum(group.columns for group in groups):
            raise ActionError(f"action space {space} leaves nothing to choose.")
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
            parts = [np.asarray(part, np.float32).ravel() for part in flatten(self.space, action)]
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
            try:
                array = np.asarray(actions)
            except ValueError as error:  # rows of different lengths
                raise ActionError(f"actions {actions!r} are no array: {error}.") from error
            if array.shape != (count, *(self.space.shape or ())):
                raise ActionError(
                    f"expected {count} actions of {self.space}, that is an array of shape "
                    f"{(count, *(self.space.shape or ()))}, but got shape {array.shape}."
                )
            if array.dtype.kind not in "biuf":
                raise ActionError(f"actions have dtype {array.dtype}; expected numbers.")
            vector = (array.reshape(count, self.dim) - self._starts()).astype(np.float32)
            self.check(vector, what=f"one of {array.tolist()}")
            return vector
        from gymnasium.vector.utils import iterate

        try:
            rows = [self.encode(a) for a in iterate(batched(self.space, count), actions)]
        except ActionError:
            raise
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise ActionError(f"{actions!r} are no {count} actions of {self.space}.") from error
        if len(rows) != count:
            raise ActionError(f"expected {count} actions of {self.space}, but got {len(rows)}.")
        return np.stack(rows)

    def decode(self, vector: np.ndarray) -> Any:
        """The action of the space that ``vector`` (dim,) stands for.

        Raises:
            ActionError: if the vector is the null action or none of the space.
        """
        vector = np.asarray(vector, np.float32)
        if vector.shape != (self.dim,):
            raise ActionError(f"action vector has shape {vector.shape}; expected ({self.dim},).")
        if np.isnan(vector).any():
            raise ActionError("the null action has no counterpart in the action space.")
        self.check(vector[None])
        action, used = unflatten(self.space, vector, 0)
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
                # Rounded as the action was: 0.3 as float32 is a little more than as float64.
                low, high = (np.asarray(x, np.float32) for x in (group.low, group.high))
                good = np.isfinite(part) & (part >= low) & (part <= high)
                if group.whole:
                    good &= part == np.floor(part)
                kind = "whole numbers" if group.whole else "numbers"
                allowed = f"{kind} in [{min(group.low):g}, {max(group.high):g}]"
            if not good.all():  # NaN compares False, so it lands here too
                bad = what if what is not None else str(part[~good.all(axis=1)][0].tolist())
                raise ActionError(
                    f"action {bad} is outside the action space {self.space}: "
                    f"'{group.name}' takes {allowed}."
                )

    def describe(self, vector: np.ndarray) -> str:
        """A short readable name of an action vector, such as ``left`` or ``turn=left look=0.5``.

        Raises:
            ActionError: if the vector is no action of the space.
        """
        vector = np.asarray(vector, np.float32)
        if np.isnan(vector).any():
            return "null"
        self.check(vector[None])
        words, column = [], 0
        for group in self.groups:
            part = vector[column : column + group.columns]
            column += group.columns
            if group.kind == "categorical":
                text = group.labels[int(part[0])]
            else:
                text = ",".join(f"{value:.3g}" for value in part)
            named = len(self.groups) == 1 or text.startswith(f"{group.name}=")
            words.append(text if named else f"{group.name}={text}")
        return " ".join(words)

    # -- serialisation -------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, read back by :meth:`from_dict`."""
        return {
            "space": space_to_dict(self.space),
            "labels": [list(group.labels) for group in self.groups],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ActionSpec:
        """Rebuilds a spec from :meth:`to_dict`.

        Raises:
            ActionError: if the description is damaged.
        """
        try:
            space = space_from_dict(data["space"])
            groups = []
            for group, labels in zip(groups_of(space, "action"), data["labels"], strict=True):
                if len(labels) != group.size:
                    raise ValueError(f"{len(labels)} labels for {group.size} of '{group.name}'")
                groups.append(replace(group, labels=tuple(labels)))
        except (KeyError, TypeError, ValueError, AssertionError) as error:
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
        if isinstance(self.space, spaces.Discrete | spaces.MultiDiscrete):
            return np.asarray(self.space.start).reshape(-1)
        return np.zeros(self.dim, np.int64)
