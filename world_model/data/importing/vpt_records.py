"""The lines of a VPT recording: what the recorder wrote about a frame, as an action.

The recorder's habits, as OpenAI's own loader deals with them: where a recording starts with attack
down, attack is stuck until it is pressed anew; the scroll wheel is not recorded, but the slot that
it selects is. Unlike that loader, the camera keeps its fractions of a degree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from world_model.minecraft.actions import MinecraftActions

DEGREES_PER_PIXEL = 360.0 / 2400.0
KEYS = {
    "key.keyboard.escape": "ESC",
    "key.keyboard.s": "back",
    "key.keyboard.q": "drop",
    "key.keyboard.w": "forward",
    **{f"key.keyboard.{i}": f"hotbar.{i}" for i in range(1, 10)},
    "key.keyboard.e": "inventory",
    "key.keyboard.space": "jump",
    "key.keyboard.a": "left",
    "key.keyboard.d": "right",
    "key.keyboard.left.shift": "sneak",
    "key.keyboard.left.control": "sprint",
    "key.keyboard.f": "swapHands",
}
DEBUG_KEY = "key.keyboard.f3"
MOUSE_BUTTONS = {0: "attack", 1: "use", 2: "pickItem"}
GUI_SCALES = {"5.7": 0.5, "5.8": 0.5, "6.7": 2.0, "6.8": 2.0, "6.9": 2.0}
"""What mouse movements in an open screen are off by, by the version of the recorder."""
LONGEST_LINE = 2**20
"""Bytes of a line; a true one has a few thousand."""

BROKEN = "lines that are no record of a frame: what the player did then is unknown"
STUCK = "attack held down since before the recording, until pressed anew"
SCROLLED = "slots selected with the scroll wheel"
NO_INPUT = "records without mouse or keyboard, taken as no input"
DEBUG_SCREEN = "F3 was down: its text may cover the picture"
TOO_FAR = "camera turns beyond 180 degrees"
NO_CURSOR = "a screen was open, but where the mouse pointer was is not recorded"


class BrokenRecord(ValueError):
    """A line does not say what the player did."""


@dataclass(frozen=True)
class VPTRecord:
    """One line."""

    action: MinecraftActions
    """What the player did, a batch of one; the camera is never rounded."""
    cursor: tuple[float, float] | None = None
    """Where the mouse pointer is drawn (x, y), in pixels of a window of 720 rows."""
    repaired: tuple[str, ...] = ()
    """What had to be put right."""
    noted: tuple[str, ...] = ()
    """What is worth knowing."""


class VPTDecoder:
    """Decodes the lines of one recording, in order.

    Args:
        gui_scale: factor for mouse movements while a screen is open.
    """

    def __init__(self, gui_scale: float = 1.0) -> None:
        self.gui_scale = gui_scale
        self._first = True
        self._attack_is_stuck = False
        self._slot: int | None = None

    def decode(self, line: bytes) -> VPTRecord:
        """The record of the next line.

        Raises:
            BrokenRecord: if it does not say what the player did.
        """
        first, self._first = self._first, False
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BrokenRecord(f"no JSON ({error})") from None
        if not isinstance(record, dict):
            raise BrokenRecord("no JSON object")
        repaired, noted = [], []
        mouse, keyboard = _part(record, "mouse"), _part(record, "keyboard")
        if not mouse or not keyboard:
            repaired.append(NO_INPUT)
        in_gui = record.get("isGuiOpen") is True

        keys = [key for key in _list(keyboard, "keys") if isinstance(key, str)]
        pressed = {KEYS[key] for key in keys if key in KEYS}
        if DEBUG_KEY in keys:
            noted.append(DEBUG_SCREEN)
        buttons = [b for b in _list(mouse, "buttons") if isinstance(b, int)]
        pressed |= {MOUSE_BUTTONS[b] for b in buttons if b in MOUSE_BUTTONS}
        if self._is_attack_stuck(first, _list(mouse, "newButtons")) and "attack" in pressed:
            pressed.discard("attack")
            repaired.append(STUCK)
        if (slot := self._newly_selected(record.get("hotbar"))) is not None:
            name = f"hotbar.{slot + 1}"
            if name not in pressed:
                repaired.append(SCROLLED)
            pressed.add(name)

        scale = DEGREES_PER_PIXEL * (self.gui_scale if in_gui else 1.0)
        camera = (_number(mouse, "dy") * scale, _number(mouse, "dx") * scale)
        action, too_far = MinecraftActions.one(pressed, camera).bounded()
        if too_far[0]:
            repaired.append(TOO_FAR)
        cursor = _position(mouse) if in_gui else None
        if in_gui and cursor is None:
            noted.append(NO_CURSOR)
        return VPTRecord(action, cursor, tuple(repaired), tuple(noted))

    def _is_attack_stuck(self, first: bool, new_buttons: list[Any]) -> bool:
        if first:
            self._attack_is_stuck = new_buttons == [0]
        elif 0 in new_buttons:
            self._attack_is_stuck = False
        return self._attack_is_stuck

    def _newly_selected(self, slot: Any) -> int | None:
        """The slot, if it is another than a line ago; what the first line has was not selected."""
        if not isinstance(slot, int) or isinstance(slot, bool) or not 0 <= slot <= 8:
            return None
        before, self._slot = self._slot, slot
        return slot if before is not None and slot != before else None


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file but empty ones; one that is absurdly long comes as one that is broken."""
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                _skip_line(file)
                yield b"(too long)"
            elif line.strip():
                yield line


def count_lines(path: Path) -> int:
    """Number of lines that :func:`read_lines` yields."""
    return sum(1 for _ in read_lines(path))


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
        pass


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise BrokenRecord(f"{name} is no object")
    return part


def _list(part: Mapping[str, Any], name: str) -> list[Any]:
    value = part.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BrokenRecord(f"{name} is no list")
    return value


def _number(part: Mapping[str, Any], name: str) -> float:
    value = part.get(name, 0)
    value = 0 if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BrokenRecord(f"{name} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    # No mouse moves a million pixels in a frame.
    if not abs(number) < 1e6:
        raise BrokenRecord(f"{name}={number} is no movement")
    return number


def _position(mouse: Mapping[str, Any]) -> tuple[float, float] | None:
    if mouse.get("x") is None or mouse.get("y") is None:
        return None
    return _number(mouse, "x"), _number(mouse, "y")
