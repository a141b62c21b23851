"""The next-frame diffusion transformer.

All tokens of a frame are denoised together; frames see only the past (block-wise causal
attention). Each frame carries its own noise level and its own action, which modulate every block
(adaLN-zero per frame). The same weights run densely over a whole sequence (training) and one
frame at a time against a ring of cached keys and values (streaming).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.action_spec import ActionSpec
from world_model.attention import (
    KVCache,
    attend_window,
    attend_within_frames,
)
from world_model.embeddings import ActionEmbedding, TimeEmbedding
from world_model.rope import rotate, rotation, spatial_angles
from world_model.transport import BLOCK, displacements, transport

NORM_EPS = 1e-6
CHANNELS = 3
"""Colours of a pixel."""


@dataclass(frozen=True)
class NetworkConfig:
    """Configuration of :class:`NextFrameDiffusion`."""

    grid: tuple[int, int] = (8, 8)
    """Rows and columns of tokens in a frame."""
    token_dim: int = 192
    """Numbers per token, as the tokenizer makes them."""
    width: int = 192
    """Width of the residual stream."""
    layers: int = 6
    """Number of transformer blocks."""
    heads: int = 3
    """Attention heads; width / heads is the head dimension."""
    mlp: str = "relu2"
    """``swiglu`` (the paper's) or ``relu2`` (squared ReLU, cheaper on CPUs)."""
    mlp_width: int = 768
    """Inner width of the MLP."""
    window: int = 6
    """Frames in sight of a frame, its own included."""
    temporal_layers: tuple[int, ...] | None = None
    """Layers that look across frames; the others see their own frame alone. None: all (the
    paper's)."""
    previous_frames: int = 0
    """How many frames before it each frame's tokens are given as extra input. With one or more the
    output is the change on top of the last of them. Two show motion within a single token."""
    transport: tuple[int, int] | None = None
    """Rows and columns, in pixels, by which filters can displace the previous frame; see
    :mod:`world_model.transport`. Needs ``previous_frames`` and tokens that are pixel patches."""
    rope_theta: float = 256.0
    """Base of the rotary frequencies."""

    def __post_init__(self) -> None:
        if self.layers < 1 or min(self.grid) < 1:
            raise ValueError(
                f"a network needs at least one layer and at least one token, not {self.layers} "
                f"layers and a grid of {self.grid}."
            )
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(
                f"width {self.width} does not divide into {self.heads} heads of even dimension."
            )
        if self.mlp not in ("swiglu", "relu2"):
            raise ValueError(f"mlp must be 'swiglu' or 'relu2', not {self.mlp!r}.")
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}.")
        if any(not 0 <= layer < self.layers for layer in self.temporal_layers or ()):
            raise ValueError(f"temporal_layers {self.temporal_layers} are not all layers.")
        if self.transport is not None:
            if not self.previous_frames:
                raise ValueError("transport displaces the previous frame: set previous_frames.")
            if self.patch_size**2 * CHANNELS != self.token_dim or self.patch_size % BLOCK:
                raise ValueError(
                    f"transport needs square patches of RGB pixels, {BLOCK} or a multiple of it "
                    f"a side; tokens of {self.token_dim} numbers are none."
                )

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels, where tokens are pixel patches."""
        return math.isqrt(self.token_dim // CHANNELS)

    @property
    def head_dim(self) -> int:
        """Dimensions per attention head."""
        return self.width // self.heads

    @property
    def tokens(self) -> int:
        """Tokens per frame."""
        return self.grid[0] * self.grid[1]

    @property
    def across_frames(self) -> tuple[int, ...]:
        """The layers that look across frames, in order."""
        if self.temporal_layers is None:
            return tuple(range(self.layers))
        return tuple(sorted(self.temporal_layers))


class MLP(nn.Module):
    """SwiGLU, or a squared-ReLU MLP."""

    def __init__(self, width: int, inner: int, kind: str) -> None:
        super().__init__()
        self.gated = kind == "swiglu"
        self.project_in = nn.Linear(width, 2 * inner if self.gated else inner, bias=False)
        self.project_out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        x = self.project_in(x)
        if self.gated:
            gate, x = x.chunk(2, dim=-1)
            return self.project_out(F.silu(gate) * x)
        return self.project_out(F.relu(x).square())


class Block(nn.Module):
    """``x += g1 Attn(mod(RMSNorm(x)))``, ``x += g2 MLP(mod(RMSNorm(x)))``, modulated per frame."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention = nn.RMSNorm(width, eps=NORM_EPS)
        self.norm_mlp = nn.RMSNorm(width, eps=NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = nn.RMSNorm(config.head_dim, eps=NORM_EPS)
        self.norm_k = nn.RMSNorm(config.head_dim, eps=NORM_EPS)
        self.project = nn.Linear(width, width, bias=False)
        self.mlp = MLP(width, config.mlp_width, config.mlp)
        self.modulation = nn.Linear(width, 6 * width)

    def modulate(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Six tensors (B, F, 1, width) from the condition after SiLU (B, F, width)."""
        return self.modulation(condition)[:, :, None].chunk(6, dim=-1)

    def qkv_of(
        self, x: Tensor, shift: Tensor, scale: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised, rotated queries and keys, and values: three (B, F, N, heads, d)."""
        x = self.norm_attention(x) * (1 + scale) + shift
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        return rotate(self.norm_q(q), cos, sin), rotate(self.norm_k(k), cos, sin), v

    def finish(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Everything after attention."""
        _, _, gate, shift, scale, gate_mlp = modulation
        x = x + gate * self.project(attended.flatten(-2))
        return x + gate_mlp * self.mlp(self.norm_mlp(x) * (1 + scale) + shift)


class NextFrameDiffusion(nn.Module):
    """Block-wise causal diffusion transformer over frames of tokens."""

    spatial_angles: Tensor

    def __init__(self, config: NetworkConfig, action_spec: ActionSpec) -> None:
        super().__init__()
        self.config = config
        width = config.width
        inputs = config.token_dim * (1 + config.previous_frames)
        self.embed = nn.Linear(inputs, width)
        self.embed_time = TimeEmbedding(width)
        self.embed_action = ActionEmbedding(action_spec, width)
        if config.previous_frames:
            self.embed_previous_time = TimeEmbedding(width)
        # A ModuleList; the cast tells the type checker what is in it.
        self.blocks = cast(
            "list[Block]", nn.ModuleList(Block(config) for _ in range(config.layers))
        )
        self.norm_out = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.modulation_out = nn.Linear(width, 2 * width)
        self.project_out = nn.Linear(width, config.token_dim)
        if config.transport is not None:
            self.displacements = displacements(*config.transport)
            filters = (config.patch_size // BLOCK) ** 2
            self.project_filters = nn.Linear(width, filters * len(self.displacements))
        angles = spatial_angles(config.grid, config.head_dim, config.rope_theta)
        self.register_buffer("spatial_angles", angles, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # adaLN-zero: every block starts as the identity and the network as "no change".
        outputs = [*(block.modulation for block in self.blocks), self.modulation_out]
        if self.config.transport is not None:
            outputs.append(self.project_filters)
        for layer in [*outputs, self.project_out]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def in_precision(self, dtype: torch.dtype) -> NextFrameDiffusion:
        """A copy for inference whose matrix products run in ``dtype``; itself for its own dtype.

        The embeddings of noise level and action, and all angles, stay float32.
        """
        if dtype == self.embed.weight.dtype:
            return self
        other = copy.deepcopy(self)
        exact: list[nn.Module] = [other.embed_time, other.embed_action]
        if self.config.previous_frames:
            exact.append(other.embed_previous_time)
        kept = {id(p) for module in exact for p in module.parameters()}
        for parameter in other.parameters():
            if id(parameter) not in kept:
                parameter.data = parameter.data.to(dtype)
        return other

    # -- the parts that both ways of running share ---------------------------------------------

    def condition(self, t: Tensor, actions: Tensor, previous_t: Tensor | None) -> Tensor:
        """(B, F, width) condition of each frame, after SiLU."""
        c = self.embed_time(t) + self.embed_action(actions)
        if self.config.previous_frames:
            assert previous_t is not None
            c = c + self.embed_previous_time(previous_t)
        return F.silu(c).to(self.embed.weight.dtype)

    def embed_frames(self, latents: Tensor, previous: Tensor | None) -> Tensor:
        """(B, F, N, width) from tokens and, where configured, those of the frames before."""
        if self.config.previous_frames:
            assert previous is not None
            latents = torch.cat([latents, previous], dim=-1)
        return self.embed(latents.to(self.embed.weight.dtype))

    def read_out(self, x: Tensor, condition: Tensor, previous: Tensor | None) -> Tensor:
        """(B, F, N, token_dim), float32."""
        shift, scale = self.modulation_out(condition)[:, :, None].chunk(2, dim=-1)
        x = self.norm_out(x) * (1 + scale) + shift
        out = self.project_out(x).float()
        if self.config.transport is None:
            return out
        assert previous is not None
        last = previous[..., : self.config.token_dim]
        return out + self.displace(last, self.project_filters(x).float())

    @torch.compiler.disable  # torch 2.13's CPU compiler fails on its indexing
    def displace(self, previous: Tensor, filters: Tensor) -> Tensor:
        """The previous frames (B, F, N, token_dim) under filters (B, F, N, blocks * K)."""
        (rows, columns), patch = self.config.grid, self.config.patch_size
        side = patch // BLOCK
        images = previous.reshape(-1, rows, columns, patch, patch, CHANNELS)
        images = images.permute(0, 5, 1, 3, 2, 4).flatten(2, 3).flatten(3)  # (B*F, C, H, W)
        weights = filters.reshape(-1, rows, columns, side, side, len(self.displacements))
        weights = weights.transpose(2, 3).flatten(1, 2).flatten(2, 3)  # (B*F, H/4, W/4, K)
        moved = transport(images, weights, self.displacements)
        moved = moved.unflatten(-1, (columns, patch)).unflatten(-3, (rows, patch))
        return moved.permute(0, 2, 4, 3, 5, 1).reshape(previous.shape)

    # -- dense: a whole sequence at once ---------------------------------------------------------

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        actions: Tensor,
        previous: Tensor | None = None,
        previous_t: Tensor | None = None,
    ) -> Tensor:
        """Runs all frames of a sequence under the sliding block-wise causal mask.

        Args:
            latents: float (B, F, N, token_dim), noised tokens.
            t: float (B, F), noise level of each frame in [0, 1]; 1 is pure noise.
            actions: float (B, F, K), the action that produced each frame; NaN rows are null.
            previous: float (B, F, N, previous_frames * token_dim), the frames before each, the
                latest first, zeros where there is none; needed iff ``config.previous_frames``.
            previous_t: float (B, F), noise level of ``previous``; 1 where there is no frame before.

        Returns:
            float32 (B, F, N, token_dim), the raw output; :mod:`world_model.flow` says what it is.
        """
        frames = t.shape[1]
        index = torch.arange(frames, device=t.device)
        cos, sin = self.rotation(index[None])
        condition = self.condition(t, actions, previous_t)
        x = self.embed_frames(latents, previous)
        across = set(self.config.across_frames)
        for number, block in enumerate(self.blocks):
            modulation = block.modulate(condition)
            q, k, v = block.qkv_of(x, modulation[0], modulation[1], cos, sin)
            if number in across:
                attended = attend_window(q, k, v, self.config.window)
            else:
                attended = attend_within_frames(q, k, v)
            x = block.finish(x, attended, modulation)
        return self.read_out(x, condition, previous)

    # -- streaming: a few frames against the cache -----------------------------------------------

    def empty_cache(
        self, batch: int, *, spare_slots: int = 0, dtype: torch.dtype | None = None
    ) -> KVCache:
        """An empty ring for ``batch`` streams; ``spare_slots`` make room for speculation."""
        config = self.config
        return KVCache.empty(
            batch,
            len(config.across_frames),
            config.heads,
            config.window + 1 + spare_slots,
            config.tokens,
            config.head_dim,
            device=self.spatial_angles.device,
            dtype=dtype or self.embed.weight.dtype,
        )

    def stream(
        self,
        latents: Tensor,
        t: Tensor,
        actions: Tensor,
        frame_index: Tensor,
        cache: KVCache,
        previous: Tensor | None = None,
        previous_t: Tensor | None = None,
        *,
        emit: int = 1,
    ) -> Tensor | None:
        """Runs ``F`` consecutive frames against the cache and stores their keys and values there.

        Args:
            latents: float (B, F, N, token_dim).
            t: float (B, F).
            actions: float (B, F, K).
            frame_index: int64 (B, F), absolute positions, consecutive within a row.
            cache: written in place.
            previous: as in :meth:`forward`.
            previous_t: as in :meth:`forward`.
            emit: how many of the last frames need an output. The others only leave keys and
                values behind, so they stop at the last layer that looks across frames.

        Returns:
            float32 (B, emit, N, token_dim), or None for ``emit=0``.

        Raises:
            ValueError: if there are more frames than the cache has slots, or fewer than ``emit``.
        """
        config = self.config
        if not emit <= t.shape[1] <= cache.frames.shape[1]:
            raise ValueError(
                f"{t.shape[1]} frames at once do not fit: {emit} outputs are wanted, and the "
                f"cache has {cache.frames.shape[1]} slots."
            )
        cos, sin = self.rotation(frame_index)
        slots = cache.claim(frame_index)
        mask = cache.mask(frame_index, config.window)
        condition = self.condition(t, actions, previous_t)
        x = self.embed_frames(latents, previous)
        across = config.across_frames
        last_across = across[-1] if across else -1
        dropped = t.shape[1] - emit
        if not across and dropped:  # nothing to leave behind
            x, condition, cos, sin = (v[:, dropped:] for v in (x, condition, cos, sin))
            dropped = 0
        for number, block in enumerate(self.blocks):
            modulation = block.modulate(condition)
            q, k, v = block.qkv_of(x, modulation[0], modulation[1], cos, sin)
            if number not in across:
                attended = attend_within_frames(q, k, v)
            else:
                layer = across.index(number)
                cache.write(layer, slots, k, v)
                if number == last_across and dropped:
                    if emit == 0:
                        return None
                    q, x, condition, cos, sin = (
                        v[:, dropped:] for v in (q, x, condition, cos, sin)
                    )
                    modulation = tuple(m[:, dropped:] for m in modulation)
                    mask = mask[:, :, dropped * config.tokens :]
                attended = cache.attend(layer, q, mask).to(x.dtype)
            x = block.finish(x, attended, modulation)
        if not emit:
            return None
        last = None if previous is None else previous[:, -emit:]
        return self.read_out(x, condition, last)

    def rotation(self, frame_index: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary cosines and sines of the given frames (B, F)."""
        config = self.config
        return rotation(frame_index, self.spatial_angles, config.head_dim, config.rope_theta)
