"""Factored actions: groups of buttons of which one at most is held, and the camera in bins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from gymnasium import spaces

from world_model.action_spaces import groups_of
from world_model.action_spec import ActionSpec
from world_model.minecraft.actions import HOTBAR, MinecraftActions, columns_of
from world_model.minecraft.camera import MINEWORLD_CAMERA, VPT_CAMERA, CameraBins

Groups = tuple[tuple[str, tuple[str, ...]], ...]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FactoredFormat:
    """A MultiDiscrete: one entry per group (0: none of it), then the bins of pitch and yaw."""

    convention: str
    """Its name."""
    groups: Groups
    """Name and buttons of each group."""
    camera: CameraBins
    """Bins of each axis of the camera."""
    contradictions: Pairs
    """Buttons that cancel each other; of others in one group, the first is taken."""

    @cached_property
    def spec(self) -> ActionSpec:
        """Its space, with a name for every choice."""
        bins = tuple(f"{degrees:.3g}" for degrees in self.camera.centres)
        named = [(name, ("none", *buttons)) for name, buttons in self.groups]
        named += [("pitch", bins), ("yaw", bins)]
        space = spaces.MultiDiscrete([len(labels) for _, labels in named])
        groups = [
            replace(group, name=name, labels=labels)
            for group, (name, labels) in zip(groups_of(space, "action"), named, strict=True)
        ]
        return ActionSpec(space, groups, convention=self.convention)

    def read(self, vectors: np.ndarray) -> MinecraftActions:
        """See :class:`~world_model.minecraft.actions.ActionFormat`."""
        choices = vectors.astype(np.int64)
        actions = MinecraftActions.none(len(choices))
        for column, (_, buttons) in enumerate(self.groups):
            chosen = choices[:, column, None] == np.arange(1, len(buttons) + 1)
            actions.buttons[:, columns_of(buttons)] = chosen
        actions.camera[:] = self.camera.centres[choices[:, -2:]]
        return actions

    def write(self, actions: MinecraftActions) -> np.ndarray:
        """See :class:`~world_model.minecraft.actions.ActionFormat`."""
        actions = actions.cancelled(self.contradictions)
        vectors = np.empty((len(actions.buttons), self.spec.dim), np.float32)
        for column, (_, buttons) in enumerate(self.groups):
            held = actions.buttons[:, columns_of(buttons)]
            vectors[:, column] = np.where(held.any(axis=1), held.argmax(axis=1) + 1, 0)
        vectors[:, -2:] = self.camera.quantise(actions.camera)
        return vectors


_MOVES: Groups = (
    ("hotbar", HOTBAR),
    ("fore_back", ("forward", "back")),
    ("left_right", ("left", "right")),
    ("sprint_sneak", ("sprint", "sneak")),
)
_EXCLUSIVE: Pairs = (("forward", "back"), ("left", "right"), ("sprint", "sneak"))


def _alone(*buttons: str) -> Groups:
    return tuple((button, (button,)) for button in buttons)


VPT = FactoredFormat(
    "minecraft/multidiscrete",
    (*_MOVES, *_alone("use", "drop", "attack", "jump")),
    VPT_CAMERA,
    _EXCLUSIVE,
)
"""VPT's groups and camera; the buttons that it leaves out are never held."""

VPT_FULL = replace(
    VPT,
    convention="minecraft/multidiscrete-full",
    groups=(*VPT.groups, *_alone("inventory", "ESC", "swapHands", "pickItem")),
)
"""The same with every button."""

MINEWORLD = FactoredFormat(
    "minecraft/mineworld",
    (
        *_MOVES,
        ("use_attack", ("use", "attack")),
        *_alone("jump"),
        ("drop_pick", ("drop", "pickItem")),
    ),
    MINEWORLD_CAMERA,
    (*_EXCLUSIVE, ("jump", "sneak"), ("attack", "use")),
)
"""MineWorld's seven groups and camera, which are those of the Next-Frame Diffusion paper."""
