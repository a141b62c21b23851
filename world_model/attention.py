"""Block-wise causal attention over frames of tokens.

Within a frame everything sees everything; across frames only the past, and of it only a window.

Three ways to compute it, equal to float tolerance (the tests hold them to it): within each frame
alone, over each frame's window of a whole sequence (training), and against a ring of cached keys
and values (streaming, :mod:`world_model.kv_cache`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FEW_HEADS = 32
"""Heads of all streams together up to which keys are spread over a GPU."""
MANY_KEYS = 1024
"""Keys from which on that pays."""


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
    if mask is None and not training and _few_queries(q, k):
        # Flash attention is the one that spreads the keys over the whole GPU. The private operator
        # is what asks for it without a switch that other threads would see.
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
    if q.device.type != "cpu" or not training:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # The fused CPU kernel is slow backwards: for 64 tokens the plain formula trains about four
    # times faster.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores.masked_fill_(~mask, float("-inf"))
    return scores.softmax(dim=-1).to(v.dtype) @ v


def _few_queries(q: Tensor, k: Tensor) -> bool:
    """Whether queries (B, heads, Q, d) alone would leave most of a GPU idle, and keys are many."""
    if q.device.type != "cuda" or q.dtype not in (torch.bfloat16, torch.float16) or q.ndim != 4:
        return False
    few = q.shape[0] * q.shape[1] <= FEW_HEADS and k.shape[2] >= MANY_KEYS
    return few and q.shape[3] % 8 == 0 and q.shape[3] <= 256 and _has_flash(q.device.index)


def _has_flash(index: int | None) -> bool:
    """Whether a GPU can run flash attention, and PyTorch was built with it."""
    built = torch.backends.cuda.is_flash_attention_available()
    return built and torch.cuda.get_device_capability(index) >= (8, 0)


# What torch.compiler.assume_constant_result does; calling it imports the whole compiler, which
# takes longer than everything else before the first step.
_has_flash._dynamo_marked_constant = True  # type: ignore[attr-defined]


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
