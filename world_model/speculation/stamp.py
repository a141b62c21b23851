"""Notices whether somebody has written to a state."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Stamp:
    """The tensors of a state, and how often torch has seen each of them written to.

    Writes past torch, through a NumPy view of a tensor, go unnoticed.

    Args:
        state: lists its tensors by ``tensors()``.
    """

    def __init__(self, state: Any) -> None:
        self._tensors: list[Tensor] = list(state.tensors())
        self._versions = [tensor._version for tensor in self._tensors]

    def fits(self, state: Any) -> bool:
        """Whether ``state`` has the same tensors, and nobody has written to them since."""
        tensors = list(state.tensors())
        return len(tensors) == len(self._tensors) and all(
            now is then and now._version == version
            for now, then, version in zip(tensors, self._tensors, self._versions, strict=True)
        )


def can_be_stamped(state: Any) -> bool:
    """False for states that do not list their tensors, and for tensors made in inference mode."""
    return hasattr(state, "tensors") and not any(
        tensor.is_inference() for tensor in state.tensors()
    )
