"""What the columns of a table of actions mean: the schema of ``nfd import folder``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.errors import DataError

BUTTON_TEXTS = {"0": 0, "1": 1, "true": 1, "false": 0, "0.0": 0, "1.0": 1}


@dataclass(frozen=True)
class ActionColumn:
    """One action and the column that it is read from."""

    name: str
    """Name of the action."""
    kind: str
    """``button``, ``choice`` or ``number``."""
    column: str
    """Name of the column."""
    choices: tuple[str, ...] = ()
    """Names of the choices; the table has these, or their numbers from 0."""
    low: float = -1.0
    """Lower bound of a number."""
    high: float = 1.0
    """Upper bound of a number."""

    def space(self) -> spaces.Space:
        """Its part of the action space."""
        if self.kind == "number":
            return spaces.Box(self.low, self.high, (1,), np.float32)
        return spaces.Discrete(len(self.choices) if self.kind == "choice" else 2)

    def decode(self, value: Any) -> float | None:
        """The value of a cell as in the action vector, or None if it is no such value."""
        text = str(value).strip()
        if self.kind == "button":
            return BUTTON_TEXTS.get(text.lower())
        if self.kind == "choice" and text in self.choices:
            return self.choices.index(text)
        try:
            number = float(text)
        except ValueError:
            return None
        if self.kind == "number":
            return number if self.low <= number <= self.high else None
        good = math.isfinite(number) and number == int(number) and 0 <= number < len(self.choices)
        return number if good else None


@dataclass(frozen=True)
class Schema:
    """The meaning of all columns."""

    fps: float
    """Frames per second."""
    actions: tuple[ActionColumn, ...]
    """The actions, in the order of the action vector."""
    reward: str | None = None
    """Column of the rewards."""
    terminated: str | None = None
    """Column that says whether the task was over with the action of a row."""
    truncated: str | None = None
    """Column that says whether the episode was cut off with the action of a row."""
    columns: tuple[str, ...] = ()
    """Names of the columns of an npy file, which has none itself."""

    @property
    def spec(self) -> ActionSpec:
        """The actions of the data set."""
        parts = [(action.name, action.space()) for action in self.actions]
        # A list keeps the order of the schema; Gymnasium sorts the keys of a plain dict.
        spec = ActionSpec.from_space(spaces.Dict(parts))
        labels = {action.name: action.choices for action in self.actions if action.choices}
        groups = [replace(g, labels=labels.get(g.name, g.labels)) for g in spec.groups]
        return ActionSpec(spec.space, groups)

    @property
    def needed(self) -> list[str]:
        """Columns that a table must have."""
        others = [c for c in (self.reward, self.terminated, self.truncated) if c is not None]
        return [action.column for action in self.actions] + others

    def decode(self, row: Mapping[str, Any]) -> tuple[np.ndarray, float] | None:
        """Action vector float32 (K,) and reward of a row, or None if one of them is not known."""
        values = [action.decode(row.get(action.column)) for action in self.actions]
        reward = 0.0
        if self.reward is not None:
            try:
                reward = float(row.get(self.reward, ""))
            except (TypeError, ValueError):
                return None
        if None in values or not math.isfinite(reward):
            return None
        return np.array(values, np.float32), reward

    def says(self, column: str | None, row: Mapping[str, Any]) -> bool:
        """Whether a column of yes and no says yes in a row."""
        text = str(row.get(column, "")).strip().lower() if column is not None else ""
        return BUTTON_TEXTS.get(text) == 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, to tell one schema from another."""
        actions = [{**vars(action), "choices": list(action.choices)} for action in self.actions]
        return {**vars(self), "actions": actions, "columns": list(self.columns)}


def read_schema(path: Path) -> Schema:
    """Reads a schema.

    Raises:
        DataError: if it is none; says what is wrong with which action.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"the schema {path} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the schema {path} is no JSON: {error}.") from None
    if not isinstance(data, dict) or not isinstance(data.get("actions"), list):
        raise _wrong(path, 'it needs "fps" and a list of "actions"')
    if unknown := sorted(set(data) - {field.name for field in fields(Schema)}):
        raise _wrong(path, f"it has unknown entries: {', '.join(unknown)}")
    fps = data.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise _wrong(path, f"fps is {fps!r}, not a positive number")
    named = {name: data.get(name) for name in ("reward", "terminated", "truncated")}
    columns = data.get("columns", [])
    if any(not isinstance(n, str | None) for n in named.values()) or not isinstance(columns, list):
        raise _wrong(
            path,
            '"reward", "terminated" and "truncated" must be names of columns, and "columns" a list',
        )
    actions = tuple(_action(path, i, entry) for i, entry in enumerate(data["actions"]))
    names = [action.name for action in actions]
    if not names or len(set(names)) < len(names):
        raise _wrong(path, f"the names of the actions must differ, and there must be one: {names}")
    return Schema(float(fps), actions, **named, columns=tuple(map(str, columns)))


def _action(path: Path, index: int, entry: Any) -> ActionColumn:
    where = f"action {index}"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _wrong(path, f'{where} needs a "name": {entry!r}')
    name, kind = entry["name"], entry.get("type")
    where = f"action {name!r}"
    if unknown := sorted(set(entry) - {"name", "type", "column", "choices", "low", "high"}):
        raise _wrong(path, f"{where} has unknown entries: {', '.join(unknown)}")
    if kind not in ("button", "choice", "number"):
        raise _wrong(path, f"{where} has type {kind!r}; there is button, choice and number")
    choices = entry.get("choices", [])
    if kind == "choice" and (not isinstance(choices, list) or len(set(map(str, choices))) < 2):
        raise _wrong(path, f'{where} needs "choices": a list of at least two different names')
    bounds = entry.get("low", -1.0), entry.get("high", 1.0)
    if not all(isinstance(b, int | float) and math.isfinite(b) for b in bounds) or (
        bounds[0] >= bounds[1]
    ):
        raise _wrong(path, f"{where} has bounds {bounds}; low must be below high")
    return ActionColumn(
        name,
        kind,
        str(entry.get("column", name)),
        tuple(map(str, choices)) if kind == "choice" else (),
        float(bounds[0]),
        float(bounds[1]),
    )


def _wrong(path: Path, why: str) -> DataError:
    return DataError(
        f"the schema {path} is wrong: {why}. One that is right: "
        '{"fps": 20, "actions": [{"name": "jump", "type": "button"}, {"name": "gear", "type": '
        '"choice", "choices": ["low", "high"]}, {"name": "steer", "type": "number", "low": -1, '
        '"high": 1}]}.'
    )
