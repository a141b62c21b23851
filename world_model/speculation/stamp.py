"""Notices whether somebody has written to a state."""

from __future__ import annotations

from typing import Any

import torch


def stamp(state: Any) -> tuple[int, ...] | None:
    """Changes whenever a tensor of ``state`` is written to in place or replaced by another.

    None where nobody counts that: for tensors made in inference mode, and states that do not list
    their tensors.
    """
    if not hasattr(state, "tensors"):
        return None
    tensors: list[torch.Tensor] = list(state.tensors())
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple(number for tensor in tensors for number in (id(tensor), tensor._version))
