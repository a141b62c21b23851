"""What an environment needs of a world: explicit state in, explicit state out.

:class:`world_model.rollout.Rollout` is the real one; tests drive the same environment code with
analytic worlds whose answers are known.
"""

from __future__ import annotations

from typing import Protocol, Self, TypeVar, runtime_checkable

import torch

from world_model.types import Context, StepOutcome


class StateProtocol(Protocol):
    """State of ``B`` streams: tensors only, fixed shapes, every field with leading dimension B."""

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        ...

    @property
    def seeds(self) -> torch.Tensor:
        """int64 (B,), noise seed of each stream; written in place, it gives another future."""
        ...

    def clone(self) -> Self:
        """A copy that shares no memory with this state."""
        ...

    def select(self, indices: torch.Tensor) -> Self:
        """The streams at ``indices`` (int64), as a new state; indices may repeat (branching)."""
        ...

    def scatter(self, indices: torch.Tensor, other: Self) -> Self:
        """Writes the streams of ``other`` over those at ``indices``, in place; returns self."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same state on another device."""
        ...


State = TypeVar("State", bound=StateProtocol)


@runtime_checkable
class RolloutProtocol(Protocol[State]):
    """Imagines ``B`` independent streams."""

    def begin(self, contexts: Context, seeds: torch.Tensor) -> State:
        """Starts one stream per context, with its own noise seed: int64 (B,)."""
        ...

    def advance(self, state: State, actions: torch.Tensor) -> tuple[State, StepOutcome]:
        """One environment step for every stream; actions float32 (B, K), never null.

        May reuse the buffers of ``state``: clone it first if it is needed again.
        """
        ...
