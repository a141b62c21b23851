"""What a Minecraft player did in one frame, in the words of MineRL 1.0 and VPT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec

TOO_FAR = "camera turns beyond 180 degrees"
BUTTONS = (
    "ESC",
    "attack",
    "back",
    "drop",
    "forward",
    *(f"hotbar.{i}" for i in range(1, 10)),
    "inventory",
    "jump",
    "left",
    "pickItem",
    "right",
    "sneak",
    "sprint",
    "swapHands",
    "use",
)
"""The 23 buttons."""


@dataclass(frozen=True)
class MinecraftAction:
    """Buttons and mouse of one frame."""

    pressed: frozenset[str] = frozenset()
    """Those of :data:`BUTTONS` that are down."""
    camera: tuple[float, float] = (0.0, 0.0)
    """Turn in degrees, (pitch, yaw): down and right are positive. Never rounded."""

    @property
    def is_null(self) -> bool:
        """Whether the player did nothing."""
        return not self.pressed and self.camera == (0.0, 0.0)


def bounded_camera(pitch: float, yaw: float) -> tuple[tuple[float, float], bool]:
    """A turn within 180 degrees that ends where the given one does, and whether it is another.

    The view ends straight up and straight down, and all the way round is not a turn.
    """
    if max(abs(pitch), abs(yaw)) <= 180:
        return (pitch, yaw), False
    if abs(yaw) > 180:
        yaw = (yaw + 180) % 360 - 180
    return (min(max(pitch, -180.0), 180.0), yaw), True


def minecraft_space() -> spaces.Dict:
    """MineRL 1.0's action space: 23 buttons, and the camera in degrees (pitch, yaw)."""
    camera = spaces.Box(-180.0, 180.0, (2,), np.float32)
    return spaces.Dict({"camera": camera, **{name: spaces.Discrete(2) for name in BUTTONS}})


class ActionEncoder:
    """Encodes :class:`MinecraftAction` as vectors of a spec whose groups bear the buttons' names.

    Buttons that the spec lacks are left out.
    """

    def __init__(self, spec: ActionSpec) -> None:
        self.dim = spec.dim
        self.columns: dict[str, int] = {}
        """First column of every group."""
        column = 0
        for group in spec.groups:
            self.columns[group.name] = column
            column += group.columns

    def encode(self, action: MinecraftAction) -> np.ndarray:
        """float32 (dim,)."""
        vector = np.zeros(self.dim, np.float32)
        for name in action.pressed:
            if name in self.columns:
                vector[self.columns[name]] = 1.0
        if (camera := self.columns.get("camera")) is not None:
            vector[camera : camera + 2] = action.camera
        return vector
