"""The columns of a world's actions, each with what keys or a mouse can do to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nfd_env.key_bindings import LESS, MORE, wishes
from world_model.action_spaces import ActionGroup
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError

LARGEST = 1e6
"""Numbers that go further than this have no bound that a key could stand for."""
MOST_KEYS = 36
"""Choices without a name that number keys and letters can tell apart."""


@dataclass(frozen=True)
class Part:
    """One column of the action vector."""

    choices: tuple[tuple[frozenset[str], float], ...]
    """What must be held for a value; with more than one match, that of most wishes, then that of
    the key pressed last. The one without wishes, if there is one, is that of no key."""
    rest: float
    """Its value while nothing is held."""
    turns: tuple[int, float] | None = None
    """(0 for pitch or 1 for yaw, unit of the column per degree), where it is a camera's."""
    low: float = 0.0
    """Bound of a turn."""
    high: float = 0.0
    """Bound of a turn."""
    whole: bool = False
    """Whether a turn is a whole number."""
    turn_wishes: tuple[str, ...] = ()
    """What turns it besides the mouse."""

    @property
    def wishes(self) -> list[str]:
        """All that can be asked of it."""
        asked = dict.fromkeys(w for held, _ in self.choices for w in sorted(held))
        return [*asked, *self.turn_wishes]

    def value(self, held: Mapping[str, int], camera: np.ndarray) -> float:
        """Its value for wishes (with the order in which they came) and degrees [pitch, yaw]."""
        if self.turns is not None:
            axis, scale = self.turns
            # + 0.0: no negative zero
            turn = float(np.clip(camera[axis] * scale, self.low, self.high)) + 0.0
            return round(turn) if self.whole else turn
        best, value = (0, -1), self.rest
        for needed, choice in self.choices:
            if needed and needed <= held.keys():
                rank = (len(needed), max(held[wish] for wish in needed))
                if rank > best:
                    best, value = rank, choice
        return value


def find_parts(spec: ActionSpec) -> list[Part]:
    """The columns of ``spec``.

    Raises:
        ActionError: if one cannot be played by keys.
    """
    parts: list[Part] = []
    for group in spec.groups:
        found = [_choice(group)] if group.kind == "categorical" else list(_numbers(group))
        parts += found
    return parts


def _choice(group: ActionGroup) -> Part:
    default = all(re.fullmatch(rf".*={i}", label) for i, label in enumerate(group.labels))
    generic = re.fullmatch(r"(action|\d+)(\.\d+)*", group.name) is not None
    switch = group.size == 2 and (default or group.labels == ("off", "on"))
    if switch and not generic:
        return Part(((wishes(group.name.rpartition("binary.")[2]), 1.0),), 0.0)
    if default or switch:
        # Unnamed: by number. The first choice is what happens without a key.
        if group.size > MOST_KEYS:
            raise ActionError(
                f"'{group.name}' has {group.size} choices without names, more than there are keys. "
                "Name the actions of the world, or play it with a policy or a file of actions."
            )
        named = [f"{group.name}={i}" for i in range(group.size)]
        if group.size == 2 and group.name != "action":
            named[1] = group.name
        pairs = [(frozenset({named[i]}), float(i)) for i in range(1, group.size)]
        return Part(tuple(pairs), 0.0)
    choices = tuple((wishes(label), float(i)) for i, label in enumerate(group.labels))
    seen: dict[frozenset[str], float] = {}
    for held, value in choices:
        seen.setdefault(held, value)
    # Without a name for doing nothing, the first choice it is.
    return Part(choices, seen.get(frozenset(), 0.0))


def _numbers(group: ActionGroup) -> Iterator[Part]:
    for i in range(group.size):
        label = group.labels[i] if group.labels else f"{group.name}.{i}"
        low, high = group.low[i], group.high[i]
        turn = _turn(group, label, i)
        if not (np.isfinite([low, high]).all() and max(abs(low), abs(high)) < LARGEST):
            raise ActionError(
                f"'{label}' is a number without bounds, which no key can stand for. Give the world "
                "bounds for it, or play it with a policy or a file of actions."
            )
        rest = float(np.clip(0.0, low, high))
        if turn is not None:
            axis, sign = turn
            names = (("look up", "look down"), ("turn left", "turn right"))[axis]
            yield Part((), rest, (axis, sign), low, high, group.whole, names)
            continue
        name = label.replace("_", " ").lower()
        opposites = ((name + LESS, low), (name + MORE, high))
        chosen = [(frozenset({wish}), value) for wish, value in opposites if value != rest]
        yield Part(tuple(chosen), rest)


def _turn(group: ActionGroup, label: str, index: int) -> tuple[int, float] | None:
    """Axis and sign of a column that turns a camera; None for others."""
    words = label.lower()
    if group.name.rpartition(".")[2].lower() == "camera" and group.size == 2:
        return index, 1.0
    if words.endswith("delta"):  # ViZDoom's
        if "turn" in words:
            return 1, 1.0
        if "look" in words:
            return 0, -1.0
    if words in ("yaw", "pitch"):
        return int(words == "yaw"), 1.0
    return None
