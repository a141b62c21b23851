"""What to do in a world, written down by hand: actions by name, each with how long it is held.

JSON lines, ``{"action": "left", "steps": 10}``, or CSV, ``left,10``. An action is the name of a
choice (``left``), several at once as the keys have them (``forward+jump``), or a value of the
action space: a number, a list, or a JSON object. ``steps`` may be left out; empty lines and those
that begin with ``#`` say nothing.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from nfd_env.controls import Controls
from nfd_env.key_bindings import wishes
from world_model.action_spaces import readable
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, DataError

Step = tuple[np.ndarray, int]
"""An encoded action float32 (K,), and for how many steps."""


def load_script(file: str | Path, spec: ActionSpec) -> list[Step]:
    """Reads a script.

    Raises:
        DataError: if it is missing, empty or damaged; the message names the line.
        ActionError: if an action is none of ``spec``; so does this one.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as a script of actions: {error}.") from error
    steps: list[Step] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        where = f"{file}, line {number}"
        action, count = _json(text, where) if text.startswith("{") else _csv(text, where)
        if not steps and (action, count) == ("action", "steps"):
            continue  # the heading of a table
        try:
            steps.append((find_action(action, spec), _count(count)))
        except (ActionError, ValueError) as error:
            kind = ActionError if isinstance(error, ActionError) else DataError
            raise kind(f"{where}: {error}") from error
    if not steps:
        raise DataError(f"{file} holds no action. Write one a line, such as: left,10")
    return steps


def find_action(action: Any, spec: ActionSpec) -> np.ndarray:
    """The encoded action, float32 (K,), that a name or a value stands for.

    Raises:
        ActionError: if there is no such action.
    """
    if not isinstance(action, str):
        value = _as_given(action, spec)
        return spec.encode(value)
    name = action.strip()
    if isinstance(spec.space, spaces.Discrete):
        labels = spec.groups[0].labels
        for known in (labels, [readable(label) for label in labels]):  # as they are, as shown
            lower = [label.lower() for label in known]
            if name.lower() in lower:
                return np.array([lower.index(name.lower())], np.float32)
    try:
        return find_action(json.loads(name), spec)
    except ValueError as error:
        if isinstance(error, ActionError):
            raise
    controls = Controls(spec)
    keys = {binding.does.lower(): binding.keys[0] for binding in controls.bindings}
    asked = wishes(name)
    if unknown := sorted(asked - keys.keys()):
        choices = spec.groups[0].labels if isinstance(spec.space, spaces.Discrete) else ()
        known = [readable(label) for label in choices or keys]
        raise ActionError(f"no action is called {unknown[0]!r}. Known are {', '.join(known[:30])}.")
    return controls.vector([keys[wish] for wish in sorted(asked)])


def _as_given(action: Any, spec: ActionSpec) -> Any:
    if isinstance(action, bool) or action is None:
        raise ActionError(f"{action!r} is no action.")
    if isinstance(action, list) and isinstance(spec.space, spaces.Box):
        return np.array(action, spec.space.dtype)
    return action


def _json(text: str, where: str) -> tuple[Any, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}.") from error
    if "action" not in row or set(row) - {"action", "steps"}:
        raise DataError(f'{where}: expected {{"action": ..., "steps": ...}}, found {text[:80]!r}.')
    return row["action"], row.get("steps", 1)


def _csv(text: str, where: str) -> tuple[str, Any]:
    cells = [cell.strip() for cell in next(csv.reader([text]))]
    if len(cells) > 2:
        raise DataError(f"{where}: expected an action and its steps, found {text[:80]!r}.")
    return cells[0], cells[1] if len(cells) == 2 else 1


def _count(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"steps={value!r}: expected a whole number of at least 1.")
    return number
