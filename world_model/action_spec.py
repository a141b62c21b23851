"""ActionSpec: any Gymnasium action space as one flat float32 vector, and back.

The vector has one column per categorical group (a Discrete, one entry of a MultiDiscrete, one
bit of a MultiBinary), holding the index of the choice counted from 0, and one column per number
of a Box. A row of NaN is the null action: the one "before" the first frame of an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from world_model.action_spaces import (
    ActionGroup,
    flatten,
    groups_of,
    readable,
    space_from_dict,
    space_to_dict,
    unflatten,
)
from world_model.companding import Companding
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

    def __init__(
        self, space: spaces.Space, groups: Sequence[ActionGroup], *, convention: str = ""
    ) -> None:
        self.space = space
        self.groups = tuple(groups)
        self.convention = convention
        self.dim = sum(group.columns for group in self.groups)

    @classmethod
    def from_space(
        cls,
        space: spaces.Space,
        names: Sequence[str] | None = None,
        *,
        companding: Mapping[str, Companding] | None = None,
        convention: str = "",
    ) -> ActionSpec:
        """Builds the spec of ``space``.

        Args:
            space: Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of these.
            names: a name for every action of a Discrete space (optional).
            companding: curves by which networks are given the numbers of a Box, by its name (the
                key in a Dict; ``action`` if it is the whole space). Encoded vectors hold the
                numbers themselves.
            convention: published convention that the space follows, as ``family/format`` such as
                ``minecraft/minerl``; environments offer the family's other formats.

        Raises:
            ActionError: if the space is of another kind or empty, ``names`` has the wrong length,
                or ``companding`` names no Box.
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
        return cls(space, _companded(groups, companding or {}), convention=convention)

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
        self.check(vector[None], what=lambda: repr(action))
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
            self.check(vector, what=lambda: f"one of {array.tolist()}")
            return vector
        try:
            parts = [
                part.reshape(count, -1).astype(np.float32)
                for part in flatten(self.space, actions, count)
            ]
        except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
            raise ActionError(
                f"{actions!r} are no {count} actions of {self.space}: {error}."
            ) from error
        vectors = np.concatenate(parts, axis=1)
        self.check(vectors, what=lambda: f"one of {actions}")
        return vectors

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

    def check(self, vectors: np.ndarray, *, what: Callable[[], str] | None = None) -> None:
        """Raises ActionError unless every row of ``vectors`` (B, dim) is an action of the space.

        Args:
            vectors: encoded actions.
            what: words for them in the error; default: the first wrong numbers.
        """
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ActionError(
                f"action vectors have shape {vectors.shape}; expected (batch, {self.dim})."
            )
        low, high, whole = self._limits
        # NaN compares False, so it is bad too.
        good = np.isfinite(vectors) & (vectors >= low) & (vectors <= high)
        good &= ~whole | (vectors == np.floor(vectors))
        if good.all():
            return
        column = 0
        for group in self.groups:  # which of them it is
            columns = slice(column, column + group.columns)
            column += group.columns
            fine = good[:, columns].all(axis=1)
            if fine.all():
                continue
            if group.kind == "categorical":
                allowed = f"an integer choice of {group.size} ({', '.join(group.labels)})"
            else:
                kind = "whole numbers" if group.whole else "numbers"
                allowed = f"{kind} in [{min(group.low):g}, {max(group.high):g}]"
            bad = what() if what is not None else str(vectors[~fine, columns][0].tolist())
            raise ActionError(
                f"action {bad} is outside the action space {self.space}: "
                f"'{group.name}' takes {allowed}."
            )

    def describe(self, vector: np.ndarray, *, brief: bool = False) -> str:
        """A short readable name of an action vector, such as ``left`` or ``turn=left look=0.5``.

        Args:
            vector: float32 (K,).
            brief: leave out the parts that do nothing: ``none``, ``off`` and 0.

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
            if len(self.groups) == 1:
                return readable(text)
            text = text.removeprefix(f"{group.name}=")
            if not (brief and text in ("none", "off", "0")):
                words.append(f"{readable(group.name)}={text}")
        return " ".join(words)

    # -- serialisation -------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, read back by :meth:`from_dict`."""
        described: dict[str, Any] = {
            "space": space_to_dict(self.space),
            "labels": [list(group.labels) for group in self.groups],
        }
        # Only what is not the default: descriptions, and hashes over them, stay as they were.
        names = [group.name for group in self.groups]
        if names != [group.name for group in groups_of(self.space, "action")]:
            described["names"] = names
        curves = {g.name: asdict(g.companding) for g in self.groups if g.companding is not None}
        if curves:
            described["companding"] = curves
        if self.convention:
            described["convention"] = self.convention
        return described

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ActionSpec:
        """Rebuilds a spec from :meth:`to_dict`.

        Raises:
            ActionError: if the description is damaged.
        """
        try:
            space = space_from_dict(data["space"])
            groups = list(groups_of(space, "action"))
            names = data.get("names", [group.name for group in groups])
            for i, (name, labels) in enumerate(zip(names, data["labels"], strict=True)):
                if len(labels) != groups[i].size:
                    raise ValueError(f"{len(labels)} labels for {groups[i].size} of '{name}'")
                groups[i] = replace(groups[i], name=name, labels=tuple(labels))
            if len(names) != len(groups):
                raise ValueError(f"labels of {len(names)} groups for {len(groups)}")
            curves = {k: Companding(**v) for k, v in data.get("companding", {}).items()}
            groups = _companded(groups, curves)
            convention = str(data.get("convention", ""))
        except (KeyError, IndexError, TypeError, ValueError, AssertionError) as error:
            raise ActionError(f"damaged description of an action space: {error!r}.") from error
        return cls(space, groups, convention=convention)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActionSpec) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((str(self.space), self.groups))

    def __repr__(self) -> str:
        return f"ActionSpec({self.space}, dim={self.dim})"

    @cached_property
    def _limits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per column: lower and upper bound, float32, and whether only whole numbers count.

        Rounded as actions are: 0.3 as float32 is a little more than as float64.
        """
        low: list[float] = []
        high: list[float] = []
        whole: list[bool] = []
        for group in self.groups:
            choices = group.kind == "categorical"
            low += [0.0] if choices else group.low
            high += [group.size - 1.0] if choices else group.high
            whole += [choices or group.whole] * group.columns
        return np.array(low, np.float32), np.array(high, np.float32), np.array(whole)

    def _starts(self) -> np.ndarray:
        """Per column, the smallest index of a categorical group in the space (0 for a Box)."""
        if isinstance(self.space, spaces.Discrete | spaces.MultiDiscrete):
            return np.asarray(self.space.start).reshape(-1)
        return np.zeros(self.dim, np.int64)


def _companded(
    groups: Sequence[ActionGroup], curves: Mapping[str, Companding]
) -> list[ActionGroup]:
    """The groups with the curves of those that have one."""
    boxes = [group.name for group in groups if group.kind == "continuous"]
    unknown = sorted(set(curves) - set(boxes))
    if unknown:
        raise ActionError(
            f"companding is given for {unknown}, but the continuous groups of the space are "
            f"{boxes or 'none'}."
        )
    return [replace(group, companding=curves.get(group.name)) for group in groups]
