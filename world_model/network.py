"""The next-frame diffusion transformer.

All tokens of a frame are denoised together; frames see only the past (block-wise causal
attention). Each frame carries its own noise level and its own action, which modulate every block
(adaLN-zero per frame). The same weights run densely over a whole sequence (training) and one
frame at a time against a ring of cached keys and values (streaming).
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.action_spec import ActionSpec
from world_model.attention import attend_window, attend_within_frames
from world_model.blocks import NORM_EPS, Block, modulated
from world_model.embeddings import ActionEmbedding, TimeEmbedding
from world_model.kv_cache import KVCache
from world_model.network_config import CHANNELS, NetworkConfig
from world_model.rope import rotation, spatial_angles, time_frequencies, turns
from world_model.transport import BLOCK, displacements, transport
from world_model.vector_linear import VectorLinear

__all__ = ["NetworkConfig", "NextFrameDiffusion"]


class NextFrameDiffusion(nn.Module):
    """Block-wise causal diffusion transformer over frames of tokens."""

    spatial_turns: Tensor
    time_frequencies: Tensor

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
        if config.step_size:
            self.embed_step = TimeEmbedding(width)
        # A ModuleList; the cast tells the type checker what is in it.
        self.blocks = cast(
            "list[Block]", nn.ModuleList(Block(config) for _ in range(config.layers))
        )
        self.norm_out = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.modulation_out = VectorLinear(width, 2 * width)
        self.project_out = nn.Linear(width, config.token_dim)
        if config.transport is not None:
            self.displacements = displacements(*config.transport)
            filters = (config.patch_size // BLOCK) ** 2
            self.project_filters = nn.Linear(width, filters * len(self.displacements))
        angles = spatial_angles(config.grid, config.head_dim, config.rope_theta)
        self.register_buffer("spatial_turns", turns(angles), persistent=False)
        rates = time_frequencies(config.head_dim, config.rope_theta)
        self.register_buffer("time_frequencies", rates, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # adaLN-zero: every block starts as the identity and the network as "no change".
        outputs: list[nn.Linear] = [block.modulation for block in self.blocks]
        outputs.append(self.modulation_out)
        if self.config.transport is not None:
            outputs.append(self.project_filters)
        for layer in [*outputs, self.project_out]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        if self.config.step_size:  # a network that never heard of step sizes can be taught them
            nn.init.zeros_(self.embed_step.project_out.weight)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.weight.device

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
        if self.config.step_size:
            exact.append(other.embed_step)
        kept = {id(p) for module in exact for p in module.parameters()}
        for parameter in other.parameters():
            if id(parameter) not in kept:
                parameter.data = parameter.data.to(dtype)
        return other

    # -- the parts that both ways of running share ---------------------------------------------

    def condition(
        self, t: Tensor, actions: Tensor, previous_t: Tensor | None, step: Tensor | None = None
    ) -> Tensor:
        """(B, F, width) condition of each frame, after SiLU."""
        c = self.embed_time(t) + self.embed_action(actions)
        if self.config.previous_frames:
            assert previous_t is not None
            c = c + self.embed_previous_time(previous_t)
        if self.config.step_size:
            c = c + self.embed_step(torch.zeros_like(t) if step is None else step)
        return F.silu(c).to(self.embed.weight.dtype)

    def modulation(
        self,
        t: Tensor,
        actions: Tensor,
        previous_t: Tensor | None = None,
        step: Tensor | None = None,
    ) -> Tensor:
        """What noise levels and actions make of every block: all that :meth:`stream` knows of them.

        It depends on nothing else, so it can be computed for all passes of a frame at once.

        Args:
            t: float (B, F).
            actions: float (B, F, K).
            previous_t: as in :meth:`forward`.
            step: as in :meth:`forward`.

        Returns:
            (B, F, layers * 6 * width + 2 * width): of the blocks, and of the output.
        """
        condition = self.condition(t, actions, previous_t, step)
        parts = [block.modulation(condition) for block in self.blocks]
        return torch.cat([*parts, self.modulation_out(condition)], dim=-1)

    def embed_frames(self, latents: Tensor, previous: Tensor | None) -> Tensor:
        """(B, F, N, width) from tokens and, where configured, those of the frames before."""
        if self.config.previous_frames:
            assert previous is not None
            latents = torch.cat([latents, previous], dim=-1)
        return self.embed(latents.to(self.embed.weight.dtype))

    def read_out(self, x: Tensor, modulation: Tensor, previous: Tensor | None) -> Tensor:
        """(B, F, N, token_dim), float32; ``modulation`` (B, F, 2 * width)."""
        shift, scale = modulation[:, :, None].chunk(2, dim=-1)
        x = modulated(self.norm_out(x), shift, scale)
        out = self.project_out(x).float()
        if self.config.transport is None:
            return out
        assert previous is not None
        last = previous[..., : self.config.token_dim]
        return out + self.displace(last, self.project_filters(x).float())

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
        past: Tensor | None = None,
        past_t: Tensor | None = None,
        step: Tensor | None = None,
    ) -> Tensor:
        """Runs all frames of a sequence under the sliding block-wise causal mask.

        With ``past`` every frame is there twice, as in streaming: as what is looked back at, and
        as what is being denoised.

        Args:
            latents: float (B, F, N, token_dim), noised tokens.
            t: float (B, F), noise level of each frame in [0, 1]; 1 is pure noise.
            actions: float (B, F, K), the action that produced each frame; NaN rows are null.
            previous: float (B, F, N, previous_frames * token_dim), the frames before each, the
                latest first, zeros where there is none; needed iff ``config.previous_frames``.
            previous_t: float (B, F), noise level of ``previous``; 1 where there is no frame before.
            past: float (B', F, N, token_dim), how the frames look to later ones, where B' divides
                B; row ``i`` of the batch looks back at row ``i % B'``, whose actions and previous
                frames are taken to be the same. None: as ``latents``.
            past_t: float (B', F), noise level of ``past``.
            step: float (B, F), how far the sampler is about to step from t, where the network is
                told; 0, the default, asks for the mean of all clean frames.

        Returns:
            float32 (B, F, N, token_dim), the raw output; :mod:`world_model.flow` says what it is.
        """
        frames, extra = t.shape[1], 0
        index = torch.arange(frames, device=t.device)
        cos, sin = self.rotation(index[None])
        last, across = previous, self.config.across_frames
        if past is not None and across:
            assert past_t is not None
            extra = len(past)
            latents, t = torch.cat([past, latents]), torch.cat([past_t, t])
            actions = torch.cat([actions[:extra], actions])
            if previous is not None and previous_t is not None:
                previous = torch.cat([previous[:extra], previous])
                previous_t = torch.cat([previous_t[:extra], previous_t])
            if step is not None:
                step = torch.cat([torch.zeros_like(past_t), step])
        condition = self.condition(t, actions, previous_t, step)
        x = self.embed_frames(latents, previous)
        for number, block in enumerate(self.blocks):
            modulation = block.modulate(condition)
            q, k, v = block.qkv_of(x, modulation[0], modulation[1], cos, sin)
            if number not in across:
                attended = attend_within_frames(q, k, v)
            elif not extra:
                attended = attend_window(q, k, v, self.config.window)
            else:
                seen, window = (k[:extra], v[:extra]), self.config.window
                attended = attend_window(q[extra:], k[extra:], v[extra:], window, seen)
                if number == across[-1]:  # nobody looks at the past any more
                    x, condition = x[extra:], condition[extra:]
                    modulation, extra = tuple(m[extra:] for m in modulation), 0
                else:
                    context = attend_window(q[:extra], k[:extra], v[:extra], window)
                    attended = torch.cat([context, attended])
            x = block.finish(x, attended, modulation)
        return self.read_out(x, self.modulation_out(condition), last)

    # -- streaming: a few frames against the cache -----------------------------------------------

    def empty_cache(
        self, batch: int, *, spare_slots: int = 0, dtype: torch.dtype | None = None
    ) -> KVCache:
        """An empty ring for ``batch`` streams.

        Args:
            batch: number of streams.
            spare_slots: room for frames that are streamed together more than once, and each time
                are to find those that they push out: two for each such frame.
            dtype: of keys and values; default: that of the weights.
        """
        config = self.config
        return KVCache.empty(
            batch,
            len(config.across_frames),
            config.heads,
            max(2, config.window) + spare_slots,  # a step has two frames
            config.tokens,
            config.head_dim,
            device=self.device,
            dtype=dtype or self.embed.weight.dtype,
        )

    def stream(
        self,
        latents: Tensor,
        modulation: Tensor,
        frame_index: Tensor,
        cache: KVCache,
        previous: Tensor | None = None,
        *,
        emit: int = 1,
        full: bool = False,
        turned: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | None:
        """Runs ``F`` consecutive frames against the cache and stores their keys and values there.

        Args:
            latents: float (B, F, N, token_dim).
            modulation: of these frames, as :meth:`modulation` makes it of their noise levels and
                actions.
            frame_index: int64 (B, F), absolute positions, consecutive within a row.
            cache: written in place.
            previous: as in :meth:`forward`.
            emit: how many of the last frames need an output. The others only leave keys and
                values behind, so they stop at the last layer that looks across frames.
            full: whether no slot of the cache is empty once the first of the frames is stored, for
                any stream: then nothing has to be masked.
            turned: :meth:`rotation` of ``frame_index``. It is the same in all passes of a frame,
                and compiled code, which does not keep it, works it out again in every block.

        Returns:
            float32 (B, emit, N, token_dim), or None for ``emit=0``.

        Raises:
            ValueError: if there are more frames than the cache has slots, or fewer than ``emit``.
        """
        config = self.config
        frames = latents.shape[1]
        if not emit <= frames <= cache.frames.shape[1]:
            raise ValueError(
                f"{frames} frames at once do not fit: {emit} outputs are wanted, and the "
                f"cache has {cache.frames.shape[1]} slots."
            )
        cos, sin = self.rotation(frame_index) if turned is None else turned
        parts = cache.parts(frame_index, config.window, full=full)
        x = self.embed_frames(latents, previous)
        across = config.across_frames
        last_across = across[-1] if across else -1
        dropped = frames - emit
        if not across and dropped:  # nothing to leave behind
            x, modulation, cos, sin = (v[:, dropped:] for v in (x, modulation, cos, sin))
            dropped = 0
        for number, block in enumerate(self.blocks):
            mine = block.parts_of(
                modulation.narrow(-1, number * 6 * config.width, 6 * config.width)
            )
            q, k, v = block.qkv_of(x, mine[0], mine[1], cos, sin)
            if number not in across:
                attended = attend_within_frames(q, k, v)
            else:
                skipped = dropped if number == last_across else 0
                found = cache.look_back(across.index(number), q, k, v, parts, skipped)
                if found is None:
                    return None
                if skipped:
                    x, modulation, cos, sin = (v[:, skipped:] for v in (x, modulation, cos, sin))
                    mine = tuple(m[:, skipped:] for m in mine)
                attended = found.to(x.dtype)
            x = block.finish(x, attended, mine)
        if not emit:
            return None
        last = None if previous is None else previous[:, -emit:]
        return self.read_out(x, modulation[..., -2 * config.width :], last)

    def rotation(self, frame_index: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary cosines and sines of the given frames (B, F)."""
        return rotation(frame_index, self.spatial_turns, self.time_frequencies)
