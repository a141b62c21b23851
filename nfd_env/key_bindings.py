"""Which keys do what: from the names that people give to actions to keys of a keyboard.

Keys have plain names, the same for a window and a browser: letters and digits as they are,
``left``, ``right``, ``up``, ``down``, ``space``, ``shift``, and the buttons ``mouse left``,
``mouse right`` and ``mouse middle``. Function keys, ``escape`` and ``enter`` are never given to a
world: whoever shows it needs some for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ARROWS = ("left", "right", "up", "down")
LETTERS = tuple("qwertyuiopasdfghjklzxcvbnm")
DIGITS = tuple("1234567890")
KEYS = (*ARROWS, "space", "shift", *DIGITS, *LETTERS, "mouse left", "mouse right", "mouse middle")
"""All keys that a world may use."""

REST = frozenset({"", "noop", "none", "stay", "nothing", "idle", "no op", "null", "wait", "rest"})
"""Names of doing nothing."""

# Those further up choose first: a jump takes the space bar from an attack.
_USUAL: dict[str, tuple[str, ...]] = {
    "turn left": ("left",),
    "turn right": ("right",),
    "look up": ("up",),
    "look down": ("down",),
    "left": ("a", "left"),
    "right": ("d", "right"),
    "forward": ("w", "up"),
    "back": ("s", "down"),
    "up": ("w", "up"),
    "down": ("s", "down"),
    "jump": ("space",),
    "attack": ("mouse left", "space", "j"),
    "use": ("mouse right", "e", "space", "k"),
    "sprint": ("shift",),
    # Not ctrl: a browser closes its page at ctrl and w.
    "sneak": ("c", "z"),
    "inventory": ("e", "i"),
    "drop": ("q",),
    "swaphands": ("f",),
    "pickitem": ("mouse middle", "g"),
    "esc": ("x",),
    **{f"hotbar {digit}": (digit,) for digit in DIGITS},
}
LESS, MORE = " -", " +"
"""What the wishes for less and for more of a number end with."""
_PAIRS = (("left", "right"), ("down", "up"), ("a", "d"), ("s", "w"), ("j", "l"), ("k", "i"))
_SAME = {
    "fire": "attack",
    "shoot": "attack",
    "speed": "sprint",
    "run": "sprint",
    "crouch": "sneak",
    "backward": "back",
    "backwards": "back",
    "forwards": "forward",
    "strafe left": "left",
    "strafe right": "right",
    "move left": "left",
    "move right": "right",
    "move up": "up",
    "move down": "down",
    "move forward": "forward",
    "move backward": "back",
    "move back": "back",
    "go left": "left",
    "go right": "right",
    "go forward": "forward",
    "do": "use",
    "interact": "use",
    "toggle": "use",
    "pickup": "drop",
}
# Atari's names: UPRIGHTFIRE.
_GLUED = re.compile(r"(?:up|down|left|right|fire)+")
_GLUED_PARTS = re.compile(r"up|down|left|right|fire")


def wishes(label: str) -> frozenset[str]:
    """What the name of an action asks for at once; nothing for those of doing nothing.

    >>> sorted(wishes("forward+jump")), sorted(wishes("UPRIGHTFIRE")), sorted(wishes("noop"))
    (['forward', 'jump'], ['attack', 'right', 'up'], [])
    """
    found = set()
    for part in label.replace("_", " ").replace("-", " ").replace(".", " ").lower().split("+"):
        words = " ".join(part.split())
        if words.endswith(" a little"):
            found.add("a little")
            words = words.removesuffix(" a little")
        pieces = _GLUED_PARTS.findall(words) if _GLUED.fullmatch(words) else [words]
        found |= {_SAME.get(piece, piece) for piece in pieces} - REST
    return frozenset(found)


def assign(wanted: Iterable[str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Keys for wishes: the usual ones where there are any, else a letter of the name, else any.

    Returns:
        The keys of each wish, all different; and the wishes for which no key was left.
    """
    names = list(dict.fromkeys(wanted))
    free = dict.fromkeys(KEYS)
    keys: dict[str, tuple[str, ...]] = {}
    for name in sorted((n for n in names if n in _USUAL), key=list(_USUAL).index):
        keys[name] = tuple(key for key in _USUAL[name] if key in free)
        for key in keys[name]:
            del free[key]
    pairs = [pair for pair in _PAIRS if free.keys() >= set(pair)]
    for name in names:
        opposite = f"{name.removesuffix(LESS)}{MORE}"
        if name.endswith(LESS) and opposite in names and pairs:
            less, more = pairs.pop(0)
            keys[name], keys[opposite] = (less,), (more,)
            del free[less], free[more]
    # Forward and up in one world: the second finds its keys taken, and is given another.
    without = [name for name in names if not keys.get(name)]
    left_over = []
    for name in without:
        digits = [d for d in re.findall(r"\d+$", name) if d in free]
        word = "" if name.startswith("action") else name  # a name that nobody gave says nothing
        letters = [letter for letter in word if letter in LETTERS and letter in free]
        others = [key for key in (*DIGITS, *LETTERS) if key in free]
        chosen = next(iter([*digits, *letters, *others]), None)
        if chosen is None:
            keys.pop(name, None)
            left_over.append(name)
            continue
        keys[name] = (chosen,)
        del free[chosen]
    return keys, left_over
