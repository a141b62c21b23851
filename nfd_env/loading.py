"""Finds the world and the rollout behind the arguments of an environment."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from world_model.errors import ConfigError, NFDError
from world_model.protocol import RolloutProtocol

_LOADED_IN = os.getpid()

# Weights never change after loading, so the environments of a process share them; a world is
# let go when the last environment that uses it is.
_WORLDS: weakref.WeakValueDictionary[tuple[str, str, int, bool], Any] = (
    weakref.WeakValueDictionary()
)


def load_rollout(
    world: Any, device: str = "auto", *, teacher: bool = False, **settings: Any
) -> tuple[Any, Any]:
    """The world, and what imagines it.

    Args:
        world: name, folder or hub id of a world; ``"module:function"`` that makes one; a
            ``World``; or an object that implements ``RolloutProtocol`` and has its world as the
            attribute ``world``. A world with a method ``make_rollout`` is imagined by what that
            returns, such as an analytic one.
        device: ``"auto"``, or what torch calls a device.
        teacher: whether the many-step network that the world was distilled from imagines.
        settings: arguments of ``Rollout`` (``sampling_steps``, ``sampler``, ``reward_mode``,
            ``termination_mode``, ``pessimism``, ``precision``, ``cuda_graphs``, ``compile``);
            those that are None keep the defaults.

    Returns:
        ``(world, rollout)``.

    Raises:
        ConfigError: if ``teacher`` is asked for and the world keeps none.
        ValueError: if settings are given for a rollout that is made already.
    """
    _refuse_to_hang()
    if isinstance(world, RolloutProtocol):
        given = sorted(name for name, value in settings.items() if value is not None)
        given += ["teacher"] * teacher
        if given:
            raise ValueError(f"{given} cannot be set: the given rollout is already configured.")
        return world.world, world  # type: ignore[attr-defined]
    if isinstance(world, str) and ":" in world:
        world = make_world(world)
    elif isinstance(world, str | Path):
        world, teacher = load_world(str(world), device, teacher=teacher), False
    if teacher:
        if not hasattr(world, "many_step"):
            raise ConfigError(f"{type(world).__name__} was not distilled: it has no teacher.")
        world = world.many_step()
    settings = {name: value for name, value in settings.items() if value is not None}
    if hasattr(world, "make_rollout"):
        return world, world.make_rollout(device=resolve_device(device), **settings)
    from world_model.rollout import Rollout

    return world, Rollout(world, device=resolve_device(device), **settings)


def load_world(name: str, device: str = "auto", *, teacher: bool = False) -> Any:
    """The world called ``name`` on ``device``, shared by the process.

    Args:
        name: name, folder or hub id.
        device: ``"auto"``, or what torch calls a device.
        teacher: whether its teacher takes the place of the distilled network.

    Raises:
        ConfigError: if it keeps no teacher, and one is asked for.
        WorldNotFoundError: if there is none.
        WorldFormatError: if its folder is incomplete or damaged.
    """
    from world_model.world import World

    device = resolve_device(device)
    folder = Path(name)
    # A folder that was written anew in the meantime holds another world.
    stamp = (
        max((f.stat().st_mtime_ns for f in folder.iterdir()), default=0) if folder.is_dir() else 0
    )
    key = (str(folder.resolve()) if folder.is_dir() else name, device, stamp, teacher)
    world = _WORLDS.get(key)
    if world is None:
        loaded = World.from_pretrained(name)
        if teacher:
            loaded = loaded.many_step()
        moved = loaded.to(device)
        world = loaded if moved is None else moved
        _WORLDS[key] = world
    return world


def resolve_device(device: str) -> str:
    """``"auto"`` as the best device that this machine has.

    Raises:
        NFDError: if torch knows no such device, or does not see it here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise NFDError(f"device={device!r} is no device. Use 'auto', 'cpu' or 'cuda'.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise NFDError(f"device={device!r}: torch sees no GPU here. Use 'auto' or 'cpu'.")
    return str(device)


def _refuse_to_hang() -> None:
    """Raises NFDError in a fork of a process that has used torch with several threads.

    The pool of threads does not survive the fork, and the first parallel operation would wait for
    it forever. Linux forks by default before Python 3.14, for ``AsyncVectorEnv`` among others.
    """
    import torch

    if os.getpid() != _LOADED_IN and torch.get_num_threads() > 1:
        raise NFDError(
            f"this process was forked from one with {torch.get_num_threads()} torch threads, where "
            "torch would hang. Use gym.make_vec's default, one batched model; or start processes "
            "with vector_kwargs={'context': 'forkserver'}; or call torch.set_num_threads(1) first."
        )


def make_world(name: str) -> Any:
    """The world that ``"module:function"`` makes.

    Raises:
        NFDError: if there is no such function.
        ConfigError: if it makes something else.
    """
    world = load_object(name)()
    if not hasattr(world, "config") or not hasattr(world, "action_spec"):
        raise ConfigError(
            f"{name} makes a {type(world).__name__}, which is no world. Name a function that "
            "returns one; an imagined environment of your own becomes one as "
            "docs/evaluate-yours.md says."
        )
    return world


def load_object(name: str) -> Callable[..., Any]:
    """The callable that ``"module:name"`` stands for.

    Raises:
        NFDError: if there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise NFDError(f"{name!r} could not be loaded as 'module:function': {error}.") from error
    if not callable(found):
        raise NFDError(f"{name!r} is not callable.")
    return found
