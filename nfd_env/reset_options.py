"""What ``reset(options=...)`` takes: frames to start from, or a snapshot to return to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nfd_env.action_adapter import ActionAdapter
from nfd_env.snapshot import Snapshot
from nfd_env.starts import check_context
from world_model.errors import ActionError, ContextError
from world_model.types import Context

KNOWN = ("frames", "actions", "snapshot")


def parse_options(
    options: Mapping[str, Any] | None, world: Any, adapter: ActionAdapter | None = None
) -> Context | Snapshot | None:
    """What the options of one stream ask for; None: the usual start.

    Args:
        options: may hold ``frames``, uint8 (C, H, W, 3) or (H, W, 3), the newest last, with
            ``actions``, C - 1 of them (``actions[t]`` takes frame t to frame t + 1) or C (one more
            in front: what produced the first frame); or ``snapshot``, a :class:`Snapshot`.
        world: the world they are for.
        adapter: of whose space the actions are; default: the world's.

    Raises:
        ContextError: if something does not fit the world, or a key is unknown.
    """
    options = options or {}
    unknown = sorted(set(options) - set(KNOWN))
    if unknown:
        raise ContextError(f"unknown reset options {unknown}. There are: {', '.join(KNOWN)}.")
    snapshot, frames, actions = (options.get(key) for key in ("snapshot", "frames", "actions"))
    if snapshot is not None:
        if frames is not None or actions is not None:
            raise ContextError("give either 'snapshot' or 'frames' in the reset options, not both.")
        if check_snapshot(snapshot, world).batch_size != 1:
            raise ContextError(
                f"the snapshot holds {snapshot.batch_size} streams; one stream takes one: "
                "snapshot.select([i])."
            )
        return snapshot
    if frames is None:
        if actions is not None:
            raise ContextError("the reset option 'actions' needs 'frames' beside it.")
        return None
    return given_context(frames, actions, world, adapter)


def given_context(
    frames: Any, actions: Any, world: Any, adapter: ActionAdapter | None = None
) -> Context:
    """Frames and actions of a user as a context, a batch of one.

    Raises:
        ContextError: if they do not fit the world.
    """
    shape = tuple(world.config.frame_shape)
    array = np.asarray(frames)
    if array.ndim == 3:
        array = array[None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != shape or not len(array):
        raise ContextError(
            f"the reset option 'frames' has shape {array.shape} and dtype {array.dtype}; expected "
            f"uint8 (C, {', '.join(map(str, shape))}) with C of at least 1."
        )
    count = len(array)
    vectors = np.full((count, world.action_spec.dim), np.nan, np.float32)
    if actions is not None:
        # The rows before the first given action keep the null action: nothing produced frame 0.
        encoded = _encode(actions, count, world.action_spec if adapter is None else adapter)
        if len(encoded):
            vectors[count - len(encoded) :] = encoded
    context = Context(torch.from_numpy(array.copy())[None], torch.from_numpy(vectors)[None])
    return check_context(context, world)


def _encode(actions: Any, count: int, adapter: ActionAdapter) -> np.ndarray:
    try:
        given = len(actions)
    except TypeError:
        raise ContextError(
            f"the reset option 'actions' is {actions!r}; expected a sequence of {count - 1} or "
            f"{count} actions for {count} frames."
        ) from None
    if given not in (count - 1, count):
        raise ContextError(
            f"the reset option 'actions' has {given} actions for {count} frames; expected "
            f"{count - 1} (those between the frames) or {count} (also the one before the first)."
        )
    try:
        rows = [adapter.encode(action) for action in actions]
    except ActionError as error:
        raise ContextError(f"the reset option 'actions' does not fit the world: {error}") from error
    return np.array(rows, np.float32)


def check_snapshot(snapshot: Any, world: Any) -> Snapshot:
    """Returns ``snapshot`` if it is one of ``world``.

    Raises:
        ContextError: if it is something else, or of another world.
    """
    if not isinstance(snapshot, Snapshot):
        raise ContextError(
            f"the snapshot is a {type(snapshot).__name__}; expected what save_state() returned."
        )
    if snapshot.model_id != world.model_id:
        raise ContextError(
            f"the snapshot is of the world {snapshot.model_id}; this environment imagines "
            f"{world.model_id}. Restore it in an environment of its own world."
        )
    return snapshot


def per_stream(options: Mapping[str, Any] | None, count: int) -> list[dict[str, Any]]:
    """Options of a batch as options of each of its ``count`` streams.

    ``frames`` with a leading batch axis (B, C, H, W, 3), lists of B frames or actions, and a
    snapshot of B streams are dealt out; anything else holds for every stream.

    Raises:
        ContextError: if a batch has another number of streams.
    """
    options = dict(options or {})
    frames, actions = options.get("frames"), options.get("actions")
    dealt: list[dict[str, Any]] = [dict(options) for _ in range(count)]
    if isinstance(frames, list | tuple) or getattr(frames, "ndim", 0) == 5:
        _deal("frames", frames, dealt)
        if actions is not None:
            _deal("actions", actions, dealt)
    snapshot = options.get("snapshot")
    if isinstance(snapshot, list | tuple):
        _deal("snapshot", snapshot, dealt)
    elif isinstance(snapshot, Snapshot) and snapshot.batch_size != 1:
        if snapshot.batch_size != count:
            raise ContextError(
                f"the snapshot holds {snapshot.batch_size} streams; expected 1 (to branch into "
                f"all) or {count}."
            )
        _deal("snapshot", [snapshot.select([i]) for i in range(count)], dealt)
    return dealt


def _deal(key: str, values: Any, dealt: list[dict[str, Any]]) -> None:
    if len(values) != len(dealt):
        raise ContextError(
            f"the reset option {key!r} is given for {len(values)} streams; expected {len(dealt)}."
        )
    for stream, value in zip(dealt, values, strict=True):
        stream[key] = value
