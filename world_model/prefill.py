"""How streams begin: a context becomes rings of keys and values, and the outcome model's memory."""

from __future__ import annotations

import torch
from torch import Tensor

from world_model.errors import ContextError
from world_model.flow import add_noise
from world_model.network import NextFrameDiffusion
from world_model.noise import Purpose, normal, stream_keys
from world_model.rollout_state import RolloutState
from world_model.tokenizer import FrameTokenizer
from world_model.types import Context
from world_model.world import World


@torch.no_grad()
def prefill(
    contexts: Context,
    seeds: Tensor,
    *,
    world: World,
    network: NextFrameDiffusion,
    tokenizer: FrameTokenizer,
    noise_level: float,
    spare_slots: int = 0,
) -> RolloutState:
    """Starts one stream per context: all of its frames but the last go through one clean pass.

    Args:
        contexts: at least one frame per stream, all streams with equally many.
        seeds: int64 (B,), noise seed of each stream.
        world: what the contexts must fit; its outcome model watches them.
        network: the world's, in the precision of the rollout; the streams are on its device.
        tokenizer: the world's, in the same precision.
        noise_level: t in [0, 1) of frames looked back at.
        spare_slots: room in the rings for more frames at once than a step needs.

    Returns:
        The state in which the last frame of every context is the newest one.

    Raises:
        ContextError: if frames, actions or seeds do not fit the world or each other.
    """
    check_contexts(contexts, seeds, world)
    outcome, device = world.outcome, network.device
    frames = contexts.frames.to(device)
    actions = contexts.actions.to(device, torch.float32)
    seeds = seeds.to(device, torch.int64)
    batch, length = frames.shape[:2]
    latents = tokenizer.encode(frames)
    index = torch.arange(length, device=device).repeat(batch, 1)
    count, dim = network.config.previous_frames, latents.shape[-1]
    previous = torch.zeros(*latents.shape[:3], count * dim, device=device)
    previous_t = torch.full((batch, length), noise_level, device=device)
    previous_t[:, 0] = 1.0
    for i in range(1, length):
        last = as_seen(latents[:, i - 1], seeds, index[:, i - 1], Purpose.PREVIOUS, noise_level)
        previous[:, i] = torch.cat([last, previous[:, i - 1]], -1)[..., : count * dim]
    cache = network.empty_cache(batch, spare_slots=spare_slots)
    # The ring holds the last frames only: prefill as much of the context as fits into it.
    first = max(0, length - 1 - cache.frames.shape[1])
    if first < length - 1:
        part = slice(first, length - 1)
        network.stream(
            as_contexts(latents[:, part], seeds, index[:, part], noise_level),
            network.modulation(
                torch.full((batch, length - 1 - first), noise_level, device=device),
                actions[:, part],
                previous_t[:, part],
            ),
            index[:, part],
            cache,
            previous[:, part],
            emit=0,
        )
    cache.unfilled = max(0, cache.frames.shape[1] - length)
    if outcome is None:
        memory = torch.zeros(batch, 0, device=device)
    else:
        given = contexts.outcome_memory
        fresh = outcome.initial_memory(batch, device=device)
        memory = fresh if given is None else given.to(device)
        for i in range(length):
            memory = outcome.observe(memory, frames[:, i], actions[:, i])
    return RolloutState(
        cache=cache,
        latent=latents[:, -1].clone(),
        previous=previous[:, -1].clone(),
        previous_t=previous_t[:, -1].clone(),
        action=actions[:, -1].clone(),
        frame_index=index[:, -1].clone(),
        seeds=seeds.clone(),
        memory=memory,
    )


def as_contexts(latents: Tensor, seeds: Tensor, index: Tensor, level: float) -> Tensor:
    """Several frames (B, F, N, D) of indices (B, F) as the clean pass is given them."""
    frames = [
        as_seen(latents[:, i], seeds, index[:, i], Purpose.CONTEXT, level)
        for i in range(latents.shape[1])
    ]
    return torch.stack(frames, dim=1)


def as_seen(latent: Tensor, seeds: Tensor, index: Tensor, purpose: Purpose, level: float) -> Tensor:
    """A frame (B, N, D) as later ones see it: noised to ``level``, the same way each time."""
    if not level:
        return latent
    noise = normal(stream_keys(seeds, index, purpose), tuple(latent.shape[1:]))
    return add_noise(latent, noise, torch.full((len(latent),), level, device=latent.device))


def check_contexts(contexts: Context, seeds: Tensor, world: World) -> None:
    """Raises what :func:`prefill` does."""
    shape, dim = world.config.frame_shape, world.action_spec.dim
    frames, actions = contexts.frames, contexts.actions
    if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[2:] != shape:
        raise ContextError(
            f"context frames have dtype {frames.dtype} and shape {tuple(frames.shape)}; "
            f"expected uint8 (batch, frames, {shape[0]}, {shape[1]}, {shape[2]})."
        )
    if frames.shape[0] == 0 or frames.shape[1] == 0:
        raise ContextError("a context needs at least one stream and one frame.")
    if actions.shape != (*frames.shape[:2], dim):
        raise ContextError(
            f"context actions have shape {tuple(actions.shape)}; expected "
            f"{(*frames.shape[:2], dim)}: one per frame, the action that produced it."
        )
    if seeds.shape != frames.shape[:1]:
        raise ContextError(
            f"{seeds.numel()} seeds for {frames.shape[0]} contexts; one each is needed."
        )
