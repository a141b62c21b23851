"""What a page is told first: the world, what keys do, what can be chosen, and where it was."""

from __future__ import annotations

from typing import Any

from nfd_env.web.choices import Modes
from nfd_env.web.visitor import Visitor


def welcome(visitor: Visitor, modes: Modes) -> dict[str, Any]:
    """The message ``welcome``, without its kind."""
    engine, world = visitor.engine, visitor.world
    config = world.config
    return {
        "session": visitor.session,
        "world": {
            "name": config.name,
            "id": world.model_id,
            "shape": list(config.frame_shape),
            "fps": config.fps,
        },
        "horizon": engine.core.limits.max_episode_steps,
        "clips": 0 if world.contexts is None else len(world.contexts),
        "context": config.context_length,
        "modes": {"names": modes.names, "own": modes.own},
        "sampling": {
            "offered": list(engine.offered),
            "own": engine.own_steps,
            "default": engine.sampling_steps,
        },
        **controls_of(visitor),
        "timeline": visitor.timeline.describe(),
        "here": visitor.here,
    }


def controls_of(visitor: Visitor) -> dict[str, Any]:
    """What keys do on the line that a visitor is on."""
    controls = visitor.controls
    described = {
        "bindings": [{"does": b.does, "keys": list(b.keys)} for b in controls.bindings],
        "mouse": controls.uses_mouse,
        "rest": controls.rest,
    }
    return {"mode": visitor.mode, "controls": described}
