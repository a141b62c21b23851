"""Spaces and values as Minari writes them down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from world_model.errors import DataError


def space_from_minari(text: Any) -> spaces.Space:
    """A space of ``metadata.json``, which is JSON within JSON.

    Raises:
        DataError: if it is damaged, or of a kind that no action can have.
    """
    try:
        data = json.loads(text) if isinstance(text, str) else text
        return _space(data)
    except (KeyError, TypeError, ValueError, AssertionError, RecursionError) as error:
        raise DataError(
            f"the space {str(text)[:200]} cannot be read ({error!r}). Worlds can have Discrete, "
            "MultiDiscrete, MultiBinary, Box, and Dict and Tuple of these."
        ) from None


def _space(data: Mapping[str, Any]) -> spaces.Space:
    kind = data["type"]
    if kind == "Box":
        dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
        low, high = (np.broadcast_to(np.array(data[k], dtype), shape) for k in ("low", "high"))
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(int(data["n"]), start=int(data.get("start", 0)))
    if kind == "MultiDiscrete":
        nvec = np.array(data["nvec"])
        return spaces.MultiDiscrete(nvec, start=np.array(data.get("start", np.zeros_like(nvec))))
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    if kind == "Dict":
        # A list keeps the order of the keys; Gymnasium sorts those of a plain dict.
        return spaces.Dict([(key, _space(sub)) for key, sub in data["subspaces"].items()])
    if kind == "Tuple":
        return spaces.Tuple([_space(sub) for sub in data["subspaces"]])
    raise ValueError(f"unknown kind {kind!r}")


def vectors(space: spaces.Space, values: Any, count: int) -> np.ndarray:
    """The first ``count`` values of a space as (count, K), choices counted from 0.

    Args:
        space: the space.
        values: an array, or a mapping by key (of a Tuple: by number) of such.
        count: how many.

    Raises:
        ValueError: if there are fewer, or they have another shape.
    """
    if isinstance(space, spaces.Dict):
        parts = [vectors(sub, values[key], count) for key, sub in space.spaces.items()]
        return np.concatenate(parts, axis=1)
    if isinstance(space, spaces.Tuple):
        get = values.get if isinstance(values, Mapping) else None
        parts = []
        for i, sub in enumerate(space.spaces):
            part = (get(str(i)) if get else values[i]) if values is not None else None
            part = get(f"_index_{i}") if part is None and get else part
            parts.append(vectors(sub, part, count))
        return np.concatenate(parts, axis=1)
    size = int(np.prod(space.shape or ()))
    array = np.asarray(values)[:count]
    if array.dtype.kind not in "biuf" or len(array) < count or array.size != count * size:
        raise ValueError(f"actions {array.dtype} {array.shape} are not {count} of {space}")
    start = np.asarray(getattr(space, "start", 0)).reshape(-1)
    return np.asarray(array.reshape(count, size) - start, np.float32)
