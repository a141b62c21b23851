"""What a player of Minecraft does in a step: the form that all formats are translated through."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from world_model.action_spec import ActionSpec

HOTBAR = tuple(f"hotbar.{i}" for i in range(1, 10))
BUTTONS = (
    *("ESC", "attack", "back", "drop", "forward"),
    *HOTBAR,
    *("inventory", "jump", "left", "pickItem", "right", "sneak", "sprint", "swapHands", "use"),
)
"""The 23 buttons of MineRL 1.0, in its order, which is that of their names."""

CAMERA_LIMIT = 180.0
"""Degrees that the camera turns in one step, at most."""


@dataclass(frozen=True)
class MinecraftActions:
    """``B`` actions of a player."""

    buttons: np.ndarray
    """bool (B, 23), whether each of :data:`BUTTONS` is held down."""
    camera: np.ndarray
    """float64 (B, 2), degrees [pitch, yaw] of this step: positive looks down and to the right."""

    @classmethod
    def none(cls, count: int) -> MinecraftActions:
        """``count`` times nothing, to be filled in."""
        return cls(np.zeros((count, len(BUTTONS)), np.bool_), np.zeros((count, 2)))

    @classmethod
    def one(cls, pressed: Collection[str], camera: tuple[float, float]) -> MinecraftActions:
        """A single action: the buttons that are held, and degrees [pitch, yaw]."""
        held = [[button in pressed for button in BUTTONS]]
        return cls(np.array(held), np.array([camera], np.float64))

    @property
    def is_null(self) -> np.ndarray:
        """bool (B,), whether the player did nothing."""
        return ~self.buttons.any(axis=1) & (self.camera == 0).all(axis=1)

    def bounded(self) -> tuple[MinecraftActions, np.ndarray]:
        """Turns within 180 degrees that end where these do, and bool (B,), which are others.

        The view ends straight up and straight down, and all the way round is not a turn.
        """
        camera = self.camera.copy()
        camera[:, 0] = camera[:, 0].clip(-CAMERA_LIMIT, CAMERA_LIMIT)
        around = np.abs(camera[:, 1]) > CAMERA_LIMIT
        camera[around, 1] = (camera[around, 1] + 180) % 360 - 180
        return MinecraftActions(self.buttons, camera), (camera != self.camera).any(axis=1)

    def cancelled(self, pairs: Iterable[tuple[str, str]]) -> MinecraftActions:
        """Without contradictions: where both buttons of a pair are held, neither is.

        All pairs are looked up in what was held at first, so that their order does not matter.
        """
        buttons = self.buttons.copy()
        for pair in pairs:
            columns = columns_of(pair)
            buttons[:, columns] &= ~self.buttons[:, columns].all(axis=1, keepdims=True)
        return MinecraftActions(buttons, self.camera)


class ActionFormat(Protocol):
    """One way to write down Minecraft actions."""

    @property
    def spec(self) -> ActionSpec:
        """Its space, and how actions of that are encoded."""
        ...

    def read(self, vectors: np.ndarray) -> MinecraftActions:
        """What encoded actions, float32 (B, K), mean; none of them null."""
        ...

    def write(self, actions: MinecraftActions) -> np.ndarray:
        """The nearest actions of this format, encoded: float32 (B, K)."""
        ...


@cache
def columns_of(names: tuple[str, ...]) -> np.ndarray:
    """int64 (n,): places of buttons among :data:`BUTTONS`; not to be written to."""
    columns = np.array([BUTTONS.index(name) for name in names], np.int64)
    columns.setflags(write=False)
    return columns
