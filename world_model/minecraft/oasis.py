"""Open-Oasis's actions: one vector of 25 numbers.

A button is 0 or 1. The camera is stored there in bins of half a degree, 0 to 80 with 40 for no
movement, and enters the vector as ``(bin - 40) / 40``: 1 is 20 degrees, and there is no more.

``cameraX`` is ``camera[0]``: that much is in the published code. That ``camera[0]`` is the pitch,
as in VPT, follows only if their unpublished preprocessing kept VPT's order; the name suggests the
yaw. Whoever uses their weights or recordings should check it by eye, and swap the two if need be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from gymnasium import spaces

from world_model.action_spaces import groups_of
from world_model.action_spec import ActionSpec
from world_model.minecraft.actions import HOTBAR, MinecraftActions, columns_of

OASIS_ORDER = (
    *("inventory", "ESC"),
    *HOTBAR,
    *("forward", "back", "left", "right", "cameraX", "cameraY", "jump", "sneak", "sprint"),
    *("swapHands", "attack", "use", "pickItem", "drop"),
)
"""What each of the 25 numbers is."""

BIN_DEGREES = 0.5
MIDDLE_BIN = 40

_CAMERA = [OASIS_ORDER.index("cameraX"), OASIS_ORDER.index("cameraY")]
_BUTTONS = [i for i in range(len(OASIS_ORDER)) if i not in _CAMERA]
_COLUMNS = columns_of(tuple(OASIS_ORDER[i] for i in _BUTTONS))


@dataclass(frozen=True)
class OasisFormat:
    """The vector as a Box: [0, 1] for buttons, [-1, 1] for the camera."""

    @cached_property
    def spec(self) -> ActionSpec:
        """Its space, with a name for every number."""
        low = np.zeros(len(OASIS_ORDER), np.float32)
        low[_CAMERA] = -1
        space = spaces.Box(low, np.ones_like(low), dtype=np.float32)
        (group,) = groups_of(space, "action")
        return ActionSpec(space, [replace(group, labels=OASIS_ORDER)], convention="minecraft/oasis")

    def read(self, vectors: np.ndarray) -> MinecraftActions:
        """Buttons are held above one half; the camera moves to the nearest bin."""
        actions = MinecraftActions.none(len(vectors))
        actions.buttons[:, _COLUMNS] = vectors[:, _BUTTONS] > 0.5
        bins = np.round(vectors[:, _CAMERA].astype(np.float64) * MIDDLE_BIN)
        actions.camera[:] = bins * BIN_DEGREES
        return actions

    def write(self, actions: MinecraftActions) -> np.ndarray:
        """See :class:`~world_model.minecraft.actions.ActionFormat`."""
        vectors = np.empty((len(actions.buttons), len(OASIS_ORDER)), np.float32)
        vectors[:, _BUTTONS] = actions.buttons[:, _COLUMNS]
        vectors[:, _CAMERA] = (camera_bins(actions.camera) - MIDDLE_BIN) / MIDDLE_BIN
        return vectors


def camera_bins(degrees: np.ndarray) -> np.ndarray:
    """Degrees of any shape as the bins that Oasis stores: int64 in [0, 80]."""
    bins = np.round(np.asarray(degrees) / BIN_DEGREES).astype(np.int64)
    return np.clip(bins, -MIDDLE_BIN, MIDDLE_BIN) + MIDDLE_BIN


OASIS = OasisFormat()
