"""Between the actions that an agent takes and those that a world was trained on.

The world's network takes encoded actions of its own space, always. What an agent faces may be
another space: ``action_mode`` chooses an adapter that translates at the border of the core. A
world's own :class:`~world_model.action_spec.ActionSpec` is the adapter that leaves actions as they
are, and the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from nfd_env.loading import load_object
from world_model.action_spec import ActionSpec
from world_model.errors import ConfigError


class ActionAdapter(Protocol):
    """Takes actions of a space; gives them encoded as those of a world."""

    @property
    def space(self) -> spaces.Space:
        """The space of one action."""
        ...

    def encode(self, action: Any) -> np.ndarray:
        """One action as float32 (K,); ActionError if it is not in the space."""
        ...

    def encode_batch(self, actions: Any, count: int) -> np.ndarray:
        """``count`` actions as float32 (count, K); ActionError if one is not in the space."""
        ...

    def decode(self, vector: np.ndarray) -> Any:
        """The action of the space that is nearest to an encoded one, (K,)."""
        ...


ActionModes = Callable[[ActionSpec], Mapping[str, ActionAdapter]]
"""From the spec of a world: its action modes by name, its own space among them."""

# By family of conventions; those given as text load where they are asked for.
_FAMILIES: dict[str, str | ActionModes] = {"minecraft": "nfd_env.minecraft_modes:minecraft_modes"}


def register_action_modes(family: str, modes: ActionModes) -> None:
    """Offers action modes for worlds whose action spec has the convention ``family/...``.

    Args:
        family: the part of :attr:`ActionSpec.convention` before the slash.
        modes: makes the adapters. Also asked about specs without a convention: none if unsure.
    """
    _FAMILIES[family] = modes


def action_modes(spec: ActionSpec) -> Mapping[str, ActionAdapter]:
    """The action modes of a world with this spec by name; none if it has but its own space."""
    family = spec.convention.partition("/")[0]
    for name, modes in _FAMILIES.items():
        if family in ("", name):
            found = (load_object(modes) if isinstance(modes, str) else modes)(spec)
            if found:
                return found
    return {}


def find_adapter(world: Any, mode: str | None) -> ActionAdapter:
    """The adapter of an action mode; None: the world's own actions.

    Raises:
        ConfigError: if the world has no such mode.
    """
    spec: ActionSpec = world.action_spec
    if mode is None:
        return spec
    modes = action_modes(spec)
    if mode not in modes:
        raise ConfigError(
            f"the world {world.model_id} has no action_mode={mode!r}. It has "
            f"{_described(spec, modes)}."
        )
    return modes[mode]


def spec_of(adapter: ActionAdapter) -> ActionSpec:
    """The spec of the actions that an adapter takes: their names, and how keys play them."""
    if isinstance(adapter, ActionSpec):
        return adapter
    return getattr(adapter, "spec", None) or ActionSpec.from_space(adapter.space)


def _described(spec: ActionSpec, modes: Mapping[str, ActionAdapter]) -> str:
    if modes:
        own = ", ".join(name for name, adapter in modes.items() if adapter is spec)
        return f"{', '.join(modes)}; its own is {own}"
    own = str(spec.space)
    if isinstance(spec.space, spaces.Discrete):
        own += f" ({', '.join(spec.groups[0].labels)})"
    return f"only its own actions, {own}: leave action_mode out"
