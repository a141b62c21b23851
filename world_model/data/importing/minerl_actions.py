"""Actions of MineRL 0.3 and 0.4: arrays by name, whose set depends on the task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.data.importing.findings import RecordingCounts
from world_model.data.importing.recordings import RecordingError
from world_model.data.importing.vpt_records import TOO_FAR
from world_model.minecraft.actions import BUTTONS, MinecraftActions
from world_model.minecraft.minerl import CAMERA_CURVE, MineRLFormat, minerl_space, minerl_spec

PREFIX = "action$"
_TOOLS = ("wooden_axe", "wooden_pickaxe", "stone_axe", "stone_pickaxe", "iron_axe", "iron_pickaxe")
CHOICES = {
    "place": ("none", "dirt", "stone", "cobblestone", "crafting_table", "furnace", "torch"),
    "equip": ("none", "air", *_TOOLS),
    "craft": ("none", "torch", "stick", "planks", "crafting_table"),
    "nearbyCraft": ("none", *_TOOLS, "furnace"),
    "nearbySmelt": ("none", "iron_ingot", "coal"),
}
"""What the tasks that lead to a diamond offer, in the order of their numbers."""
WRONG_ARRAY = "an action does not have one value for each reward"
UNKNOWN_CHOICE = "choices that the action space lacks, taken as none"
NOT_FINITE = "actions or rewards that are no finite numbers: what the player did then is unknown"


def action_spec(names: Iterable[str]) -> ActionSpec:
    """The actions of a data set whose recordings have the arrays ``action$NAME``.

    Always all of MineRL 1.0's, so that worlds have the same actions whatever they were trained on:
    buttons that a task lacks are never held.
    """
    choices = {n: spaces.Discrete(len(CHOICES[n])) for n in CHOICES if n in set(names)}
    if not choices:
        return minerl_spec()
    space = spaces.Dict({**minerl_space().spaces, **choices})
    spec = ActionSpec.from_space(space, companding={"camera": CAMERA_CURVE})
    groups = [
        replace(group, labels=CHOICES[group.name]) if group.name in CHOICES else group
        for group in spec.groups
    ]
    return ActionSpec(spec.space, groups, convention=spec.convention)


def unknown_columns(names: Iterable[str]) -> list[str]:
    """Those of the ``action$NAME`` that no data set takes."""
    return sorted(n for n in names if n not in BUTTONS and n not in CHOICES and n != "camera")


class MineRLActions:
    """The actions of one recording.

    Args:
        arrays: by their names in the file.
        steps: number of rewards; arrays that are longer are cut.
        spec: of the data set.

    Raises:
        RecordingError: if an array of the spec is too short, or of another kind.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], steps: int, spec: ActionSpec) -> None:
        buttons = np.stack([_numbers(arrays, name, (steps,)) for name in BUTTONS], axis=1)
        camera = _numbers(arrays, "camera", (steps, 2))
        self._known = np.isfinite(buttons).all(axis=1) & np.isfinite(camera).all(axis=1)
        held = MinecraftActions(buttons != 0, np.where(self._known[:, None], camera, 0))
        actions, self._too_far = held.bounded()
        self._vectors = MineRLFormat(spec).write(actions)
        self._unknown_choices: np.ndarray = np.zeros(steps, np.int64)
        for column, name in enumerate(_column_names(spec)):
            if name in CHOICES:
                choices = _choices(arrays, name, steps)
                self._unknown_choices += choices < 0
                self._vectors[:, column] = choices.clip(0)

    def at(self, step: int, counts: RecordingCounts) -> np.ndarray | None:
        """float32 (K,), or None if it is not known."""
        if not self._known[step]:
            counts.add("dropped", NOT_FINITE)
            return None
        if self._too_far[step]:
            counts.add("repaired", TOO_FAR)
        for _ in range(self._unknown_choices[step]):
            counts.add("dropped", UNKNOWN_CHOICE)
        return self._vectors[step]


def _column_names(spec: ActionSpec) -> list[str]:
    return [group.name for group in spec.groups for _ in range(group.columns)]


def _array(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an action, zeros where the task does not have it."""
    array = arrays.get(PREFIX + name)
    if array is None:
        return np.zeros(shape)
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != len(shape) or len(array) < shape[0] or array.shape[1:] != shape[1:]:
        raise RecordingError(WRONG_ARRAY, f"{PREFIX}{name} {array.shape}, expected {shape}")
    return array[: shape[0]]


def _numbers(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = _array(arrays, name, shape)
    if array.dtype.kind not in "biuf":
        raise RecordingError(WRONG_ARRAY, f"{PREFIX}{name} has dtype {array.dtype}")
    return array.astype(np.float64)


def _choices(arrays: Mapping[str, np.ndarray], name: str, steps: int) -> np.ndarray:
    """int64 (steps,), numbers of the choices (-1: unknown) of what may be numbers or names."""
    array, known = _array(arrays, name, (steps,)), CHOICES[name]
    if array.dtype.kind in "US":
        texts = [
            t.decode("ascii", "replace") if isinstance(t, bytes) else t for t in array.tolist()
        ]
        numbers = {text: number for number, text in enumerate(known)}
        return np.array([numbers.get(text, -1) for text in texts], np.int64)
    if array.dtype.kind not in "biuf":
        raise RecordingError(WRONG_ARRAY, f"{PREFIX}{name} has dtype {array.dtype}")
    good = (array >= 0) & (array < len(known)) & (array == np.floor(array))
    return np.where(good, array, -1).astype(np.int64)
