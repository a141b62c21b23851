"""How a person plays a world: from keys that are held and a mouse that moves to its actions.

What the actions are called decides the keys (:mod:`nfd_env.key_bindings`): ``left`` is A and the
left arrow, ``attack`` the space bar or the mouse. Actions without names are on the number keys. A
camera follows the mouse, and the arrow keys.

>>> from world_model.action_spec import ActionSpec
>>> spec = ActionSpec.from_space(spaces.Discrete(3), names=["stay", "left", "right"])
>>> controls = Controls(spec)
>>> [(b.does, b.keys) for b in controls.bindings]
[('left', ('a', 'left')), ('right', ('d', 'right'))]
>>> int(controls.action({"a"})), int(controls.action(["a", "right"])), int(controls.action([]))
(1, 2, 0)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from nfd_env.action_adapter import ActionAdapter, spec_of
from nfd_env.control_parts import Part, find_parts
from nfd_env.key_bindings import assign
from world_model.action_spaces import readable
from world_model.errors import ActionError
from world_model.minecraft.actions import BUTTONS, ActionFormat, MinecraftActions
from world_model.minecraft.formats import format_of, understood

MOUSE_DEGREES = 0.15
"""Degrees that a camera turns for each pixel of the mouse: Minecraft's usual sensitivity."""
KEY_DEGREES = 6.0
"""Degrees that a camera turns in a step in which an arrow key is held."""
_TURNS = {
    "look up": (-1.0, 0.0),
    "look down": (1.0, 0.0),
    "turn left": (0.0, -1.0),
    "turn right": (0.0, 1.0),
}
"""What arrow keys do to [pitch, yaw]."""


@dataclass(frozen=True)
class Binding:
    """What some keys do."""

    does: str
    """Such as ``left``, or ``Action 1`` where nobody gave the action a name."""
    keys: tuple[str, ...]
    """Any of these does it."""


class Controls:
    """Keys and mouse for the actions of a world.

    Args:
        actions: a world's action spec, or the adapter of one of its action modes: keys are those of
            the mode, see :func:`nfd_env.action_adapter.find_adapter`.

    Raises:
        ActionError: if a part of them cannot be played by keys; the message names it.
    """

    def __init__(self, actions: ActionAdapter) -> None:
        self.adapter = actions
        self.spec = spec = spec_of(actions)
        found = format_of(understood(spec))
        self._minecraft: ActionFormat | None = None if found is None else found[1]
        self._parts: list[Part] = []
        if self._minecraft is not None:
            labels = {b: b.replace(".", " ").lower() for b in _held_by(self._minecraft)}
            wanted = [*labels.values(), *_TURNS]
            self._buttons = {wish: button for button, wish in labels.items()}
            self.uses_mouse = True
            """Whether the mouse turns a camera."""
        else:
            self._parts = find_parts(spec)
            wanted = [wish for part in self._parts for wish in part.wishes]
            self.uses_mouse = any(part.turns is not None for part in self._parts)
        keys, missing = assign(wanted)
        if missing:
            named = ", ".join(readable(wish) for wish in missing[:5])
            raise ActionError(
                f"the actions {spec.space} need more keys than there are: none is left for "
                f"{named}{' and others' if len(missing) > 5 else ''}. Play them with a policy or a "
                "file of actions."
            )
        self.bindings = tuple(Binding(readable(wish), keys[wish]) for wish in dict.fromkeys(wanted))
        """What every key does, in the order of the actions."""
        self._wish_of = {key: wish for wish, held in keys.items() for key in held}

    @property
    def keys(self) -> frozenset[str]:
        """All keys that do something here."""
        return frozenset(self._wish_of)

    @property
    def rest(self) -> str:
        """What happens while no key is held, in words."""
        return self.spec.describe(self.vector(()))

    def action(self, keys_down: Iterable[str], mouse_delta: Sequence[float] = (0.0, 0.0)) -> Any:
        """The action of the space for what is held.

        Args:
            keys_down: names of the keys that are held; of opposites the one pressed last counts, if
                they come in the order in which they were pressed. Unknown ones do nothing.
            mouse_delta: pixels that the mouse moved since the last step, right and down.
        """
        return self.spec.decode(self.vector(keys_down, mouse_delta))

    def vector(
        self, keys_down: Iterable[str], mouse_delta: Sequence[float] = (0.0, 0.0)
    ) -> np.ndarray:
        """The same, encoded as :attr:`spec` does: float32 (K,)."""
        held: dict[str, int] = {}
        for place, key in enumerate(keys_down):
            if key in self._wish_of:
                held[self._wish_of[key]] = place
        camera = np.array([mouse_delta[1], mouse_delta[0]], np.float64) * MOUSE_DEGREES
        for wish, direction in _TURNS.items():
            if wish in held:
                camera += np.array(direction) * KEY_DEGREES
        if self._minecraft is not None:
            pressed = {self._buttons[wish] for wish in held if wish in self._buttons}
            action = MinecraftActions.one(pressed, (camera[0], camera[1])).bounded()[0]
            return self._minecraft.write(action)[0]
        return np.array([part.value(held, camera) for part in self._parts], np.float32)

    def world_vector(
        self, keys_down: Iterable[str], mouse_delta: Sequence[float] = (0.0, 0.0)
    ) -> np.ndarray:
        """The same, encoded as the world's own actions, whatever the mode: float32 (K,)."""
        if self.adapter is self.spec:
            return self.vector(keys_down, mouse_delta)
        return self.adapter.encode(self.action(keys_down, mouse_delta))


def controls_or_reason(actions: ActionAdapter) -> tuple[Controls | None, str]:
    """Controls, or None and why the actions cannot be played by keys."""
    try:
        return Controls(actions), ""
    except ActionError as error:
        return None, str(error)


def _held_by(known: ActionFormat) -> list[str]:
    """The buttons that a format can write down at all."""
    kept = []
    nothing = known.write(MinecraftActions.one((), (0.0, 0.0)))
    for button in BUTTONS:
        if not np.array_equal(known.write(MinecraftActions.one((button,), (0.0, 0.0))), nothing):
            kept.append(button)
    # A discrete table has rows in which a button counts only beside another one.
    if isinstance(known.spec.space, spaces.Discrete):
        return [*kept, *(["sprint"] if "sprint" not in kept else [])]
    return kept
