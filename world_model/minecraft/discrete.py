"""One number per action: a table of useful combinations, for agents that choose from a list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.minecraft.actions import MinecraftActions, columns_of
from world_model.minecraft.camera import VPT_CAMERA

Row = tuple[str, tuple[str, ...], tuple[int, int]]
"""Name, buttons held, and bins of VPT's camera away from the middle: (pitch, yaw)."""

TABLE: tuple[Row, ...] = (
    ("noop", (), (0, 0)),
    ("forward", ("forward",), (0, 0)),
    ("back", ("back",), (0, 0)),
    ("left", ("left",), (0, 0)),
    ("right", ("right",), (0, 0)),
    ("jump", ("jump",), (0, 0)),
    ("sneak", ("sneak",), (0, 0)),
    ("forward+jump", ("forward", "jump"), (0, 0)),
    ("forward+sprint", ("forward", "sprint"), (0, 0)),
    ("forward+sprint+jump", ("forward", "sprint", "jump"), (0, 0)),
    ("attack", ("attack",), (0, 0)),
    ("forward+attack", ("forward", "attack"), (0, 0)),
    ("use", ("use",), (0, 0)),
    ("turn left", (), (0, -5)),
    ("turn left a little", (), (0, -3)),
    ("turn right a little", (), (0, 3)),
    ("turn right", (), (0, 5)),
    ("look up", (), (-5, 0)),
    ("look up a little", (), (-3, 0)),
    ("look down a little", (), (3, 0)),
    ("look down", (), (5, 0)),
    ("forward+turn left", ("forward",), (0, -5)),
    ("forward+turn right", ("forward",), (0, 5)),
)
"""The actions. A turn is of 10 degrees, a little one of 3.2."""


@dataclass(frozen=True)
class DiscreteFormat:
    """A Discrete space with one action for every row of a table."""

    convention: str
    """Its name."""
    table: tuple[Row, ...]
    """The actions."""

    @cached_property
    def spec(self) -> ActionSpec:
        """Its space, with the names of the table."""
        names = [name for name, _, _ in self.table]
        return ActionSpec.from_space(
            spaces.Discrete(len(names)), names=names, convention=self.convention
        )

    @cached_property
    def _actions(self) -> MinecraftActions:
        actions = MinecraftActions.none(len(self.table))
        for i, (_, buttons, away) in enumerate(self.table):
            actions.buttons[i, columns_of(buttons)] = True
            actions.camera[i] = VPT_CAMERA.undo(np.array(away) + VPT_CAMERA.middle)
        return actions

    def read(self, vectors: np.ndarray) -> MinecraftActions:
        """See :class:`~world_model.minecraft.actions.ActionFormat`."""
        rows = vectors[:, 0].astype(np.int64)
        return MinecraftActions(self._actions.buttons[rows], self._actions.camera[rows])

    def write(self, actions: MinecraftActions) -> np.ndarray:
        """The row with the fewest other buttons; of these, that with the nearest camera."""
        mine = self._actions
        others = (actions.buttons[:, None] != mine.buttons).sum(axis=2)
        compress = VPT_CAMERA.curve.compress
        away = np.abs(compress(actions.camera)[:, None] - compress(mine.camera)).sum(axis=2)
        # Two axes are at most 4 apart: a button weighs more than any turn of the camera.
        nearest = (5 * others + away).argmin(axis=1)
        return nearest[:, None].astype(np.float32)


DISCRETE = DiscreteFormat("minecraft/discrete", TABLE)
"""The actions of :data:`TABLE`."""
