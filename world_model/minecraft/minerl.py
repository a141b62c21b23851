"""MineRL 1.0's actions: a Dict of 23 buttons and the camera in degrees. Nothing is lost in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.companding import Companding
from world_model.minecraft.actions import BUTTONS, CAMERA_LIMIT, MinecraftActions

CAMERA_CURVE = Companding(limit=CAMERA_LIMIT, mu=CAMERA_LIMIT)
"""How networks are given the camera. VPT's curve bends at 1 degree (its mu of 10 for 10 degrees);
this is the same curve, carried on to half a turn: degrees as they are would drown the buttons."""


def minerl_space() -> spaces.Dict:
    """The action space of MineRL 1.0: 23 times ``Discrete(2)``, and ``camera``."""
    camera = spaces.Box(-CAMERA_LIMIT, CAMERA_LIMIT, (2,), np.float32)
    return spaces.Dict({"camera": camera, **{name: spaces.Discrete(2) for name in BUTTONS}})


def is_minerl(space: spaces.Space) -> bool:
    """Whether a space is MineRL 1.0's, in whatever order of its keys."""
    return isinstance(space, spaces.Dict) and dict(space.spaces) == dict(minerl_space().spaces)


def minerl_spec() -> ActionSpec:
    """The spec to record data sets with: it gives networks a companded camera."""
    return ActionSpec.from_space(
        minerl_space(), companding={"camera": CAMERA_CURVE}, convention="minecraft/minerl"
    )


@dataclass(frozen=True)
class MineRLFormat:
    """MineRL's actions, encoded by ``spec``, whose columns may be in any order.

    Other actions that the spec may have are written as 0.
    """

    spec: ActionSpec
    """Spec of a Dict space with the entries of :func:`minerl_space`."""

    @cached_property
    def _columns(self) -> tuple[list[int], list[int]]:
        """Columns of the vector that hold the buttons, and those of the camera."""
        starts, column = {}, 0
        for group in self.spec.groups:
            starts[group.name] = column
            column += group.columns
        return [starts[name] for name in BUTTONS], [starts["camera"], starts["camera"] + 1]

    def read(self, vectors: np.ndarray) -> MinecraftActions:
        """See :class:`~world_model.minecraft.actions.ActionFormat`."""
        buttons, camera = self._columns
        return MinecraftActions(vectors[:, buttons] > 0.5, vectors[:, camera].astype(np.float64))

    def write(self, actions: MinecraftActions) -> np.ndarray:
        """See :class:`~world_model.minecraft.actions.ActionFormat`."""
        buttons, camera = self._columns
        vectors = np.zeros((len(actions.buttons), self.spec.dim), np.float32)
        vectors[:, buttons] = actions.buttons
        vectors[:, camera] = np.clip(actions.camera, -CAMERA_LIMIT, CAMERA_LIMIT)
        return vectors
