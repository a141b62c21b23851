"""Everything that ``B`` imagined streams carry from one step to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from world_model.kv_cache import KVCache


@dataclass
class RolloutState:
    """State of ``B`` streams. Fixed shapes: its size does not depend on how long they have run."""

    cache: KVCache
    """Rings of keys and values of the last frames."""
    latent: Tensor
    """float32 (B, N, D), the last frame as tokens, clean."""
    previous: Tensor
    """float32 (B, N, P * D), the P frames before it as the network was given them, the latest
    first; zeros where there was none."""
    previous_t: Tensor
    """float32 (B,), noise level of ``previous``; 1 where no frame came before."""
    action: Tensor
    """float32 (B, K), the action that produced the last frame; NaN where there was none."""
    frame_index: Tensor
    """int64 (B,), index of the last frame, counted from the first context frame."""
    seeds: Tensor
    """int64 (B,), noise seed of each stream."""
    memory: Tensor
    """float32 (B, M), memory of the outcome model, which has seen the last frame."""

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        return self.seeds.shape[0]

    def clone(self) -> RolloutState:
        """A copy that shares no memory with this state."""
        return self.map(torch.clone)

    def shallow(self) -> RolloutState:
        """Another state of the same tensors: it can be given others, and this one keeps its own."""
        return self.map(lambda tensor: tensor)

    def select(self, indices: Tensor) -> RolloutState:
        """The streams at ``indices`` (int64), as a new state; indices may repeat (branching)."""
        return self.map(lambda tensor: tensor[indices.to(tensor.device)])

    def scatter(self, indices: Tensor, other: RolloutState) -> RolloutState:
        """Writes the streams of ``other`` over those at ``indices``, in place; returns self."""
        for target, source in zip(self.tensors(), other.tensors(), strict=True):
            target[indices.to(target.device)] = source.to(target.device)
        self.cache.unfilled = max(self.cache.unfilled, other.cache.unfilled)
        return self

    def to(self, device: torch.device | str) -> RolloutState:
        """The same state on another device."""
        return self.map(lambda tensor: tensor.to(device))

    def tensors(self) -> list[Tensor]:
        """Every tensor of the state, in a fixed order."""
        return self.cache.tensors() + [getattr(self, name) for name in PLAIN_FIELDS]

    def num_bytes(self) -> int:
        """Bytes that the state occupies."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    def map(self, change: Callable[[Tensor], Tensor]) -> RolloutState:
        """The state with ``change`` made to each of its tensors, as a new one."""
        plain = [change(getattr(self, name)) for name in PLAIN_FIELDS]
        return RolloutState(self.cache.map(change), *plain)


PLAIN_FIELDS = [field.name for field in fields(RolloutState) if field.name != "cache"]
"""Names of the tensors beside the cache, in the order of :meth:`RolloutState.tensors`."""
