"""Block-wise causal attention over frames of tokens.

Within a frame everything sees everything; across frames only the past, and of it only a window.

Three ways to compute it, equal to float tolerance (the tests hold them to it): within each frame
alone, over each frame's window of a whole sequence (training), and against a ring of cached keys
and values (streaming).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def frame_mask(query_frames: Tensor, key_frames: Tensor, window: int) -> Tensor:
    """Which frames see which: ``key <= query`` and ``query - key < window``.

    Args:
        query_frames: int64 (..., Q) absolute frame indices.
        key_frames: int64 (..., K) absolute frame indices, negative for empty slots.
        window: frames in sight, the query's own included.

    Returns:
        bool (..., Q, K).
    """
    distance = query_frames[..., :, None] - key_frames[..., None, :]
    return (distance >= 0) & (distance < window) & (key_frames >= 0)[..., None, :]


def expand_mask(mask: Tensor, tokens: int) -> Tensor:
    """bool (..., Q, K) over frames to bool (..., Q * tokens, K * tokens) over tokens."""
    return mask.repeat_interleave(tokens, dim=-2).repeat_interleave(tokens, dim=-1)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention; q (..., Q, d), k and v (..., K, d), mask bool (..., Q, K)."""
    training = torch.is_grad_enabled()
    if q.device.type != "cpu" or not (training or q.dtype == torch.bfloat16):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # The fused CPU kernel is slow backwards, and in bfloat16 forwards: for 64 tokens the plain
    # formula trains about four times faster, and infers half as fast again for many streams.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores.masked_fill_(~mask, float("-inf"))
    return scores.softmax(dim=-1).to(v.dtype) @ v


def attend_within_frames(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each frame to itself alone; all (B, F, N, heads, d)."""
    batch, frames = q.shape[:2]
    q, k, v = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))  # (B*F, heads, N, d)
    out = softmax_attention(q, k, v)
    return out.transpose(1, 2).unflatten(0, (batch, frames))


def attend_window(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    past: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention of each frame of a sequence to itself and the ``window - 1`` frames before.

    Gathers every frame's window instead of masking a square of all frames against all, so the
    cost grows with frames * window.

    Args:
        q: (B, F, N, heads, d).
        k: as q.
        v: as q.
        window: frames in sight, the query's own included.
        past: keys and values of other versions of the same frames, (B', F, N, heads, d) where B'
            divides B: what a frame sees of the frames before it, instead of ``k`` and ``v``.

    Returns:
        (B, F, N, heads, d).
    """
    batch, frames, tokens = q.shape[:3]
    window = min(window, frames)

    def gather(x: Tensor, before: Tensor | None) -> Tensor:  # (B * F, heads, window * N, d)
        padded = F.pad(x if before is None else before, (0, 0, 0, 0, 0, 0, window - 1, 0))
        windows = padded.unfold(1, window, 1)  # (B, F, N, heads, d, window)
        windows = windows.permute(0, 1, 3, 5, 2, 4)  # (B, F, heads, window, N, d)
        if before is not None:
            windows = windows[:, :, :, :-1].repeat(batch // len(before), 1, 1, 1, 1, 1)
            windows = torch.cat([windows, x.transpose(2, 3)[:, :, :, None]], dim=3)
        return windows.flatten(3, 4).flatten(0, 1)

    # The first frames have fewer than window - 1 frames before them: mask the padding.
    slot = torch.arange(window, device=q.device)
    index = torch.arange(frames, device=q.device)
    seen = slot[None] >= window - 1 - index[:, None]  # (F, window)
    mask = seen.repeat_interleave(tokens, dim=1)[:, None, None].repeat(batch, 1, 1, 1)
    past_k, past_v = past or (None, None)
    keys, values = gather(k, past_k), gather(v, past_v)
    out = softmax_attention(q.flatten(0, 1).transpose(1, 2), keys, values, mask)
    return out.transpose(1, 2).unflatten(0, (batch, frames))


@dataclass
class KVCache:
    """Rings of keys and values of the last frames, for every layer that looks across frames.

    The ring position of frame ``f`` is ``f % slots``, so a stream's layout depends on its own
    frame index alone, whatever batch it sits in. ``slots`` is ``window + 1``: a pass that folds
    the clean pass of frame ``i - 1`` into the denoising of frame ``i`` needs the frames from
    ``i - window`` to ``i``.
    """

    keys: Tensor
    """(B, layers, heads, slots, N, d), rotated by their absolute positions."""
    values: Tensor
    """(B, layers, heads, slots, N, d)."""
    frames: Tensor
    """int64 (B, slots): which frame each slot holds, -1 where it is empty."""

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
        shape = (batch, layers, heads, slots, tokens, head_dim)
        return cls(
            keys=torch.zeros(shape, device=device, dtype=dtype),
            values=torch.zeros(shape, device=device, dtype=dtype),
            frames=torch.full((batch, slots), -1, dtype=torch.int64, device=device),
        )

    def claim(self, frame_index: Tensor) -> Tensor:
        """Marks the slots of the frames (B, F) as theirs; returns the slots, int64 (B, F)."""
        slots = frame_index % self.frames.shape[1]
        self.frames.scatter_(1, slots, frame_index)
        return slots

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Stores keys and values (B, F, N, heads, d) of one layer at ``slots`` (B, F)."""
        batch = torch.arange(slots.shape[0], device=slots.device)[:, None]
        # Advanced indices around a slice put the indexed dimensions first: (B, F, heads, N, d).
        self.keys[:, layer][batch, :, slots] = k.transpose(2, 3).to(self.keys.dtype)
        self.values[:, layer][batch, :, slots] = v.transpose(2, 3).to(self.values.dtype)

    def attend(self, layer: int, q: Tensor, mask: Tensor) -> Tensor:
        """Attention of q (B, F, N, heads, d) to everything in the ring that ``mask`` allows.

        Args:
            layer: which of the cached layers.
            q: queries, rotated.
            mask: bool (B, 1, F * N, slots * N), see :meth:`mask`.
        """
        frames, tokens = q.shape[1:3]
        keys = self.keys[:, layer].flatten(2, 3)  # (B, heads, slots * N, d)
        values = self.values[:, layer].flatten(2, 3)
        q = q.flatten(1, 2).transpose(1, 2).to(keys.dtype)
        out = softmax_attention(q, keys, values, mask)
        return out.transpose(1, 2).unflatten(1, (frames, tokens))

    def mask(self, frame_index: Tensor, window: int) -> Tensor:
        """bool (B, 1, F * N, slots * N): what queries of the given frames (B, F) may see."""
        tokens = self.keys.shape[4]
        return expand_mask(frame_mask(frame_index, self.frames, window), tokens)[:, None]
