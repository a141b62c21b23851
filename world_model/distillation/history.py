"""What few-step training shows the network of the frames before: real ones, its own, or junk.

A world that is trained on real frames alone falls apart when it looks back at its own: every
little fault is passed on, and what is lost (a wall behind an explosion) never comes back. So some
windows are imagined by the network itself first, frame after frame as in streaming, and a few are
covered with misplaced tokens, from which the only way out is a plausible frame.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from world_model.distillation.boundary import anchored
from world_model.flow import FlowConfig, add_noise, predict_x0, sample_times
from world_model.network import NextFrameDiffusion


def history_of(
    model: NextFrameDiffusion | None,
    latents: Tensor,
    actions: Tensor,
    config: FlowConfig,
    generator: torch.Generator,
) -> Tensor:
    """The frames that later frames of a window look back at.

    Args:
        model: the network in training; None will do where none of the windows are its own.
        latents: clean tokens of recorded frames, float32 (B, F, N, D).
        actions: float32 (B, F, K), the action that produced each frame.
        config: which shares of the windows are the network's own, and junk.
        generator: source of every choice, on the latents' device.

    Returns:
        Clean tokens, as latents.
    """
    own = math.ceil(config.own_fraction * len(latents))
    history = latents
    if own:
        assert model is not None
        device, frames = latents.device, latents.shape[1]
        first = torch.randint(1, frames, (own,), generator=generator, device=device)
        from_noise = 0.0 if config.own_retraces else config.noise_fraction
        t = sample_times((own,), replace(config, noise_fraction=from_noise), generator)
        level = torch.rand(own, generator=generator, device=device).square()
        level = level * config.context_noise_max
        imagined = own_frames(
            model, latents[:own], actions[:own], config, generator, first=first, t=t, level=level
        )
        history = torch.cat([imagined, latents[own:]])
    return cover_with_junk(history, config.junk_fraction, generator)


@torch.no_grad()
def own_frames(
    model: NextFrameDiffusion,
    latents: Tensor,
    actions: Tensor,
    config: FlowConfig,
    generator: torch.Generator,
    *,
    first: Tensor,
    t: Tensor,
    level: Tensor,
) -> Tensor:
    """Windows whose frames, from some frame on, the network imagined one after the other.

    Each is made in one step, from noise that covers the recorded frame wholly (t = 1) or in part:
    then the window stays near what happened, however many frames are imagined.

    Args:
        model: the network.
        latents: clean tokens of recorded frames, float32 (B, F, N, D), at least two frames.
        actions: float32 (B, F, K), the action that produced each frame.
        config: what the network predicts.
        generator: source of the noise.
        first: int64 (B,), the first imagined frame of each window, 1 or later.
        t: float32 (B,), noise level that frames are made from, in (0, 1].
        level: float32 (B,), noise level of frames looked back at.

    Returns:
        Clean tokens, as latents.
    """
    batch, frames = latents.shape[:2]
    device, count = latents.device, model.config.previous_frames
    noise, veil = torch.randn(2, *latents.shape, generator=generator, device=device)
    cache = model.empty_cache(batch)
    clean = [latents[:, 0]]
    nothing = torch.zeros_like(latents[:, 0])
    given = [torch.cat([nothing] * count, dim=-1)] if count else []
    given_t = [torch.ones_like(level)]
    for i in range(1, frames):
        x = add_noise(latents[:, i], noise[:, i], t)
        seen = add_noise(clean[-1], veil[:, i - 1], level)
        if count:
            given.append(torch.cat([seen, given[-1]], dim=-1)[..., : given[-1].shape[-1]])
            given_t.append(level)
        modulation = model.modulation(
            torch.stack([level, t], dim=1),
            actions[:, i - 1 : i + 1],
            torch.stack(given_t[-2:], dim=1) if count else None,
            torch.stack([torch.zeros_like(t), t], dim=1),
        )
        raw = model.stream(
            torch.stack([seen, x], dim=1),
            modulation,
            torch.arange(i - 1, i + 1, device=device).repeat(batch, 1),
            cache,
            torch.stack(given[-2:], dim=1) if count else None,
            full=i >= model.config.window,
        )
        assert raw is not None
        own = predict_x0(raw[:, 0], x, t, given[-1] if count else None, config).float()
        if config.blended:
            own = anchored(x, t, own)
        clean.append(torch.where((first <= i)[:, None, None], own, latents[:, i]))
    return torch.stack(clean, dim=1)


def cover_with_junk(latents: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Windows some of which are covered with tokens from elsewhere, wholly or in part.

    In half of them every token is another one, as where an imagined view has shattered; in the
    other half all are the same, as where nothing is left of it.

    Args:
        latents: tokens (B, F, N, D).
        fraction: share of the windows that this happens to, in [0, 1].
        generator: source of the choices.

    Returns:
        As latents.
    """
    if not fraction:
        return latents
    (batch, frames, tokens), device = latents.shape[:3], latents.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    pool = latents.flatten(0, 2)
    scattered = pool[(draw(batch, frames, tokens) * len(pool)).long()]
    same = pool[(draw(batch, 1, 1) * len(pool)).long()]
    junk = torch.where(draw(batch, 1, 1, 1) < 0.5, scattered, same)
    wholly = draw(batch, 1, 1) < 0.5
    covered = wholly | (draw(batch, 1, tokens) < draw(batch, 1, 1))
    covered = covered & (draw(batch, 1, 1) < fraction)
    return torch.where(covered[..., None], junk, latents)
