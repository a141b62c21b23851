"""Keys and values of the frames in sight, so that streaming computes each of them once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from world_model.attention import expand_mask, frame_mask, softmax_attention


def store(keys: Tensor, values: Tensor, slots: Tensor, k: Tensor, v: Tensor) -> None:
    """Writes k and v (B, F, N, heads, d) into rings (B, heads, slots, N, d) at slots (B, F)."""
    batch = torch.arange(slots.shape[0], device=slots.device)[:, None]
    # Advanced indices around a slice put the indexed dimensions first: (B, F, heads, N, d).
    keys[batch, :, slots] = k.transpose(2, 3).to(keys.dtype)
    values[batch, :, slots] = v.transpose(2, 3).to(values.dtype)


@dataclass(frozen=True)
class Part:
    """Frames of a pass that attend together."""

    frames: slice
    """Which of the pass."""
    slots: Tensor
    """int64 (B, F), where their keys and values go."""
    mask: Tensor | None
    """bool (B, 1, F * N, slots * N), what they see of the ring; None: all of it."""


@dataclass
class KVCache:
    """Rings of keys and values of the last frames, for every layer that looks across frames.

    The ring position of frame ``f`` is ``f % slots``, so a stream's layout depends on its own
    frame index alone, whatever batch it sits in. With ``slots`` equal to the window a frame takes
    the place of the one that has just left its sight: once the ring is full, it sees all of it.
    """

    store = staticmethod(store)  # a cache of its own may be given a compiled one
    keys: tuple[Tensor, ...]
    """Of each layer (B, heads, slots, N, d), rotated by their absolute positions. Tensors of their
    own: of one for all layers, compiled code would copy the whole to write to a part of it."""
    values: tuple[Tensor, ...]
    """Of each layer (B, heads, slots, N, d)."""
    frames: Tensor
    """int64 (B, slots): which frame each slot holds, -1 where it is empty."""
    unfilled: int
    """At most so many slots of a stream are empty once its last frame is in the ring too."""

    @classmethod
    def empty(
        cls,
        batch: int,
        layers: int,
        heads: int,
        slots: int,
        tokens: int,
        head_dim: int,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> KVCache:
        """A preallocated cache with nothing in it."""
        shape = (batch, heads, slots, tokens, head_dim)

        def rings() -> tuple[Tensor, ...]:
            return tuple(torch.zeros(shape, device=device, dtype=dtype) for _ in range(layers))

        return cls(
            keys=rings(),
            values=rings(),
            frames=torch.full((batch, slots), -1, dtype=torch.int64, device=device),
            unfilled=slots,
        )

    def tensors(self) -> list[Tensor]:
        """Every tensor of the cache, in a fixed order."""
        return [*self.keys, *self.values, self.frames]

    def map(self, change: Callable[[Tensor], Tensor]) -> KVCache:
        """The cache with ``change`` made to each of its tensors, as a new one."""
        keys, values = (tuple(map(change, rings)) for rings in (self.keys, self.values))
        return KVCache(keys, values, change(self.frames), self.unfilled)

    def parts(self, frame_index: Tensor, window: int, *, full: bool = False) -> list[Part]:
        """Claims slots for the frames of a pass, and says which of them can attend together.

        A frame may take the place of one that the frame before it still sees: then they attend one
        after the other, and :meth:`look_back` stores each frame only when it is its turn. Where
        there are spare slots nothing is lost, and all of them attend at once.

        Args:
            frame_index: int64 (B, F), consecutive within a row.
            window: frames in sight, a frame's own included.
            full: whether no slot of any stream is empty once the first of the frames is stored.
        """
        count, slots = frame_index.shape[1], self.frames.shape[1]
        size = count if slots >= window + count - 1 else 1
        parts = []
        for start in range(0, count, size):
            frames = slice(start, start + size)
            index = frame_index[:, frames]
            claimed = self.claim(index)
            everything = full and slots == window
            mask = None if everything or not self.keys else self.mask(index, window)
            parts.append(Part(frames, claimed, mask))
        return parts

    def look_back(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, parts: list[Part], dropped: int = 0
    ) -> Tensor | None:
        """Stores keys and values of one layer, and lets queries attend to the ring.

        Args:
            layer: which of the cached layers.
            q: (B, F, N, heads, d), rotated.
            k: as q.
            v: as q.
            parts: of the F frames, see :meth:`parts`.
            dropped: the first so many frames are stored and do not attend.

        Returns:
            (B, F - dropped, N, heads, d), or None if all are dropped.
        """
        attended = []
        for part in parts:
            self.write(layer, part.slots, k[:, part.frames], v[:, part.frames])
            skipped = max(0, dropped - part.frames.start)
            queries, mask = q[:, part.frames][:, skipped:], part.mask
            if queries.shape[1]:
                if mask is not None:
                    mask = mask[:, :, skipped * q.shape[2] :]
                attended.append(self.attend(layer, queries, mask))
        if not attended:
            return None
        return attended[0] if len(attended) == 1 else torch.cat(attended, dim=1)

    def claim(self, frame_index: Tensor) -> Tensor:
        """Marks the slots of the frames (B, F) as theirs; returns the slots, int64 (B, F)."""
        slots = frame_index % self.frames.shape[1]
        self.frames.scatter_(1, slots, frame_index)
        return slots

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Stores keys and values (B, F, N, heads, d) of one layer at ``slots`` (B, F)."""
        self.store(self.keys[layer], self.values[layer], slots, k, v)

    def attend(self, layer: int, q: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of q (B, F, N, heads, d) to everything in the ring that ``mask`` allows.

        Args:
            layer: which of the cached layers.
            q: queries, rotated.
            mask: bool (B, 1, F * N, slots * N), see :meth:`mask`; None: everything.
        """
        frames, tokens = q.shape[1:3]
        keys = self.keys[layer].flatten(2, 3)  # (B, heads, slots * N, d)
        values = self.values[layer].flatten(2, 3)
        q = q.flatten(1, 2).transpose(1, 2).to(keys.dtype)
        out = softmax_attention(q, keys, values, mask)
        return out.transpose(1, 2).unflatten(1, (frames, tokens))

    def mask(self, frame_index: Tensor, window: int) -> Tensor:
        """bool (B, 1, F * N, slots * N): what queries of the given frames (B, F) may see."""
        tokens = self.keys[0].shape[3]
        return expand_mask(frame_mask(frame_index, self.frames, window), tokens)[:, None]
