"""World model: tokenizer, diffusion transformer, samplers, streaming rollout, data, training.

The names below load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from world_model.action_spec import ActionSpec
    from world_model.rollout import Rollout
    from world_model.world import World

__all__ = ["ActionSpec", "Rollout", "World"]

_HOMES = {
    "ActionSpec": "world_model.action_spec",
    "Rollout": "world_model.rollout",
    "World": "world_model.world",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
