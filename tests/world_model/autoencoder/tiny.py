"""A tiny autoencoder, pictures to learn from, and a tiny world with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tests.world_model.tiny import randomise, tiny_world
from world_model.autoencoder.config import AutoencoderConfig
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.network import NextFrameDiffusion
from world_model.world import World

TINY = AutoencoderConfig(
    frame_shape=(16, 32, 3), downsampling=8, latent_channels=4, patch_size=1, width=8, blocks=1
)


def make_tokenizer(seed: int = 0, **changes: Any) -> AutoencoderTokenizer:
    """Random weights, for use."""
    torch.manual_seed(seed)
    return AutoencoderTokenizer(replace(TINY, **changes)).eval().requires_grad_(False)


def pictures(count: int, shape: tuple[int, int, int] = TINY.frame_shape) -> torch.Tensor:
    """uint8 (count, H, W, 3): a bright rectangle on a coloured slope."""
    rng = np.random.default_rng(0)
    height, width, _ = shape
    frames = np.empty((count, *shape), np.uint8)
    for frame in frames:
        slope = np.linspace(0, 100, width)[None, :, None] * rng.random(3)
        frame[:] = 50 + slope
        top, left = rng.integers(height // 2), rng.integers(width // 2)
        frame[top : top + height // 3, left : left + width // 3] = rng.integers(150, 255, 3)
    return torch.from_numpy(frames)


def world_with_autoencoder(seed: int = 0) -> World:
    """The tiny world of 16x16 frames, its tokens those of a random autoencoder."""
    world = tiny_world()
    tokenizer = make_tokenizer(
        seed, frame_shape=(16, 16, 3), latent_mean=(0.1, 0.0, -0.1, 0.2), latent_std=0.3
    )
    config = replace(
        world.network.config,
        grid=tokenizer.grid,
        token_dim=tokenizer.token_dim,
        previous_frames=0,
        transport=None,
    )
    torch.manual_seed(seed)
    network = NextFrameDiffusion(config, world.action_spec).eval().requires_grad_(False)
    randomise(network, seed, scale=0.2)
    return replace(world, tokenizer=tokenizer, network=network, _networks={})
