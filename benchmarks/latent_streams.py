"""Imagination of latents alone, in buffers that never move, as CUDA graphs need it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from world_model import rope
from world_model.flow import FlowConfig, add_noise, predict_x0
from world_model.network import NextFrameDiffusion
from world_model.noise import Purpose, normal, stream_keys
from world_model.samplers import euler, time_grid


class LatentStreams:
    """``B`` streams of latents at a full window, in buffers that never move."""

    def __init__(
        self, network: NextFrameDiffusion, batch: int, steps: int, flow: FlowConfig
    ) -> None:
        config, device = network.config, network.spatial_angles.device
        self.network, self.flow = network, flow
        self.grid = time_grid(steps)
        self.cache = network.empty_cache(batch)
        for part in (self.cache.keys, self.cache.values):
            part.normal_()
        last = 2 * config.window
        self.index = torch.full((batch,), last, dtype=torch.int64, device=device)
        held = torch.arange(last - config.window, last + 1, device=device)
        self.cache.frames.scatter_(
            1, (held % self.cache.frames.shape[1])[None].expand(batch, -1),
            held[None].expand(batch, -1),
        )  # fmt: skip
        self.latent = torch.randn(batch, config.tokens, config.token_dim, device=device)
        self.action = torch.zeros(batch, 1, device=device)
        self.level = torch.full((batch,), 0.02, device=device)
        self.seeds = torch.arange(batch, device=device)
        self.levels = {t: torch.full((batch,), t, device=device) for t in self.grid}

    @torch.no_grad()
    def advance(self) -> None:
        """Imagines one frame, in place."""
        index, following = self.index, self.index + 1
        shape = tuple(self.latent.shape[1:])
        noise = normal(stream_keys(self.seeds, following, Purpose.SAMPLE), shape)
        blur = normal(stream_keys(self.seeds, index, Purpose.CONTEXT), shape)
        context = add_noise(self.latent, blur, self.level)

        def estimate(x: torch.Tensor, noise_level: float, step: int) -> torch.Tensor:
            now = self.levels[noise_level]
            if step == 0:
                inputs = [[context, x], [self.level, now], [self.action] * 2, [index, following]]
            else:
                inputs = [[x], [now], [self.action], [following]]
            latents, t, actions, frames = (torch.stack(part, dim=1) for part in inputs)
            raw = self.network.stream(latents, t, actions, frames, self.cache)
            assert raw is not None
            return predict_x0(raw[:, 0], x, now, None, self.flow)

        self.latent.copy_(euler(lambda _: noise, self.grid, estimate))
        self.index.add_(1)


@contextmanager
def resident_frequencies(network: NextFrameDiffusion) -> Iterator[None]:
    """Keeps the rotary frequencies on the device: a graph cannot copy them there each time."""
    config = network.config
    time_dim, _, _ = rope.split_head_dim(config.head_dim)
    resident = rope.frequencies(time_dim, config.rope_theta).to(network.spatial_angles.device)
    with mock.patch.object(rope, "frequencies", return_value=resident):
        yield
