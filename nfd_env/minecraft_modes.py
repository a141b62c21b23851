"""Worlds of Minecraft, faced with other actions than those they were trained on.

The formats and what is lost between them: :mod:`world_model.minecraft`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from nfd_env.action_adapter import ActionAdapter
from world_model.action_spec import ActionSpec
from world_model.minecraft.actions import ActionFormat
from world_model.minecraft.formats import FORMATS, format_of, understood


def minecraft_modes(spec: ActionSpec) -> Mapping[str, ActionAdapter]:
    """The action modes of a world of Minecraft, by name; none for other worlds.

    Raises:
        ActionError: if the world's convention does not fit its space.
    """
    found = format_of(understood(spec))
    if found is None:
        return {}
    own, inner = found
    others = {name: Translation(outer, inner) for name, outer in FORMATS.items() if name != own}
    return {own: spec, **others}


@dataclass(frozen=True)
class Translation:
    """Takes actions of one format, encodes them as those of another."""

    outer: ActionFormat
    """Whose space is spoken."""
    inner: ActionFormat
    """Whose vectors come out."""

    @property
    def spec(self) -> ActionSpec:
        """The spec of the actions that are taken."""
        return self.outer.spec

    @property
    def space(self) -> spaces.Space:
        """The space of the actions that are taken."""
        return self.outer.spec.space

    def encode(self, action: Any) -> np.ndarray:
        """One action as float32 (K,).

        Raises:
            ActionError: if it is not in the space.
        """
        return self._inwards(self.outer.spec.encode(action)[None])[0]

    def encode_batch(self, actions: Any, count: int) -> np.ndarray:
        """``count`` actions as float32 (count, K).

        Raises:
            ActionError: if there are not ``count``, or one is not in the space.
        """
        return self._inwards(self.outer.spec.encode_batch(actions, count))

    def decode(self, vector: np.ndarray) -> Any:
        """The action of the space that is nearest to an encoded one, (K,).

        Raises:
            ActionError: if the vector is the null action or none of the inner space.
        """
        vector = np.asarray(vector, np.float32)
        self.inner.spec.decode(vector)
        return self.outer.spec.decode(self.outer.write(self.inner.read(vector[None]))[0])

    def _inwards(self, vectors: np.ndarray) -> np.ndarray:
        return self.inner.write(self.outer.read(vectors))
