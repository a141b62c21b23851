"""Imagination of latents, in buffers that never move, as CUDA graphs need it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from world_model.flow import FlowConfig, add_noise, predict_x0
from world_model.network import NextFrameDiffusion
from world_model.noise import Purpose, normals, quantiles
from world_model.samplers import euler, time_grid


class LatentStreams:
    """``B`` streams of latents at a full window, in buffers that never move.

    Args:
        network: with random weights, or others.
        batch: number of streams B.
        steps: denoising steps per frame.
        flow: how its outputs are read.
        at_once: frames in one go, as joint speculation makes them while an action repeats.
        decoder: also turns the tokens (B, N, D) of new frames into pixels, uint8 (B, H, W, 3).
    """

    def __init__(
        self,
        network: NextFrameDiffusion,
        batch: int,
        steps: int,
        flow: FlowConfig,
        at_once: int = 1,
        decoder: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        config, device = network.config, network.device
        self.network, self.flow, self.at_once = network, flow, at_once
        self.grid = time_grid(steps)
        self.draw, self.table = normals, quantiles(device)
        spare = 2 * at_once - 1 if at_once > 1 else 0
        self.cache = network.empty_cache(batch, spare_slots=spare)
        for ring in (*self.cache.keys, *self.cache.values):
            ring.normal_()
        slots = self.cache.frames.shape[1]
        last = 2 * slots
        held = torch.arange(last - slots + 1, last + 1, device=device)
        self.cache.frames.scatter_(
            1, (held % slots)[None].expand(batch, -1), held[None].expand(batch, -1)
        )
        shape = (batch, at_once)
        # Of the last go: frames, and what they are looked back at with.
        self.latents = torch.randn(*shape, config.tokens, config.token_dim, device=device)
        self.index = last - at_once + 1 + torch.arange(at_once, device=device).repeat(batch, 1)
        self.actions = torch.zeros(*shape, 1, device=device)
        self.level = torch.full(shape, 0.02, device=device)
        self.seeds = torch.arange(batch, device=device).repeat_interleave(at_once)
        self.levels = {t: torch.full(shape, t, device=device) for t in self.grid}
        self.decoder = decoder
        self.frames = None if decoder is None else self._decode(decoder)

    @torch.no_grad()
    def advance(self) -> None:
        """Imagines the next ``at_once`` frames, in place."""
        index, following = self.index, self.index + self.at_once
        wanted = [(following.flatten(), Purpose.SAMPLE, 0), (index.flatten(), Purpose.CONTEXT, 0)]
        drawn = self.draw(self.seeds, wanted, tuple(self.latents.shape[2:]), self.table)
        noise, blur = (part.view_as(self.latents) for part in drawn)
        flat = self.latents.flatten(0, 1)
        context = add_noise(flat, blur.flatten(0, 1), self.level.flatten())
        context = context.view_as(self.latents)
        # Of all passes: the frames looked back at, then the new ones at every noise level.
        passes = [self.level, *(self.levels[t] for t in self.grid[:-1])]
        taken = self.actions.repeat(1, len(passes), 1)
        modulation = self.network.modulation(torch.cat(passes, dim=1), taken)
        turned = self.network.rotation(torch.cat([index, following], dim=1))

        def estimate(x: torch.Tensor, noise_level: float, step: int) -> torch.Tensor:
            now = self.levels[noise_level]
            latents, places = x, following
            if step == 0:  # with the clean passes of the last go folded in
                latents = torch.cat([context, x], dim=1)
                places = torch.cat([index, following], dim=1)
            end = (step + 2) * self.at_once
            cos, sin = (part[:, -latents.shape[1] :] for part in turned)
            raw = self.network.stream(
                latents,
                modulation[:, end - latents.shape[1] : end],
                places,
                self.cache,
                emit=self.at_once,
                full=True,
                turned=(cos, sin),
            )
            assert raw is not None
            x0 = predict_x0(raw.flatten(0, 1), x.flatten(0, 1), now.flatten(), None, self.flow)
            return x0.view_as(x)

        self.latents.copy_(euler(lambda _: noise, self.grid, estimate))
        self.index.add_(self.at_once)
        if self.decoder is not None and self.frames is not None:
            self.frames.copy_(self._decode(self.decoder))

    @torch.no_grad()
    def _decode(self, decoder: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Pixels of the newest frames, uint8 (B * at_once, H, W, 3)."""
        return decoder(self.latents.flatten(0, 1))
