"""What goes over the WebSocket: JSON from the page, JSON and frames to it.

A frame is one binary message: the length of its header (uint16, big endian), the header (JSON,
UTF-8), the picture (PNG, or JPEG if it is large).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nfd_env.web.limits import RequestError
from nfd_env.web.moments import Moment

MOST_KEYS = 32
MOST_PIXELS = 10_000.0


def parse(text: str) -> dict[str, Any]:
    """A message of the page.

    Raises:
        RequestError: if it is no JSON object with a text ``do``.
    """
    try:
        message = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RequestError("a message must be JSON.") from error
    if not isinstance(message, dict) or not isinstance(message.get("do"), str):
        raise RequestError('a message must be a JSON object with a text "do".')
    return message


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def whole(message: Mapping[str, Any], key: str, low: int, high: int) -> int | None:
    """The whole number at ``key``, or None if it is not there.

    Raises:
        RequestError: if it is something else, or out of bounds.
    """
    value = message.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RequestError(f'"{key}" must be a whole number from {low} to {high}.')
    return value


def number(message: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    """The number at ``key``, or None if it is not there.

    Raises:
        RequestError: if it is something else, or out of bounds.
    """
    value = message.get(key)
    if value is None:
        return None
    if not _is_number(value) or not low <= value <= high:
        raise RequestError(f'"{key}" must be a number from {low:g} to {high:g}.')
    return float(value)


def sampling(message: Mapping[str, Any], offered: Sequence[int]) -> int | None:
    """The number of denoising steps that a step is to take, or None if it is not there.

    Raises:
        RequestError: if it is none of those that are offered.
    """
    value = message.get("sampling")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value not in offered:
        raise RequestError(f'"sampling" must be {_one_of(offered)}.')
    return value


def _one_of(offered: Sequence[int]) -> str:
    return f"one of {', '.join(map(str, offered))}" if offered else "left out with this world"


def held_keys(message: Mapping[str, Any]) -> list[str]:
    """The keys that are held.

    Raises:
        RequestError: if they are no list of a few names.
    """
    keys = message.get("keys", [])
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise RequestError(f'"keys" must be a list of at most {MOST_KEYS} names.')
    if not all(isinstance(key, str) and len(key) <= 20 for key in keys):
        raise RequestError('"keys" must be names of keys.')
    return keys


def mouse_moved(message: Mapping[str, Any]) -> tuple[float, float]:
    """How far the mouse moved, in pixels, right and down.

    Raises:
        RequestError: if it is no pair of numbers.
    """
    moved = message.get("mouse", [0, 0])
    if not isinstance(moved, list) or len(moved) != 2 or not all(map(_is_number, moved)):
        raise RequestError('"mouse" must be two numbers: pixels right and down.')
    right, down = (max(-MOST_PIXELS, min(MOST_PIXELS, float(value))) for value in moved)
    return right, down


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def pack(moment: Moment, **more: Any) -> bytes:
    """A moment as a binary message; ``more`` goes into its header."""
    header = {
        "n": moment.id,
        "parent": moment.parent,
        "branch": moment.branch,
        "step": moment.step,
        "reward": moment.reward,
        "total": moment.total,
        "uncertainty": moment.uncertainty,
        "ended": moment.ended,
        "sampling": moment.sampling,
        **more,
    }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return len(encoded).to_bytes(2, "big") + encoded + moment.picture


def unpack(message: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the picture of a binary message, as the page reads it."""
    length = int.from_bytes(message[:2], "big")
    return json.loads(message[2 : 2 + length]), message[2 + length :]
