"""A tiny, randomly initialised world: every real component, almost no computing."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from world_model.action_spec import ActionSpec
from world_model.contexts import ContextSet
from world_model.minecraft.formats import FORMATS
from world_model.network import NextFrameDiffusion
from world_model.outcome import OutcomeModel
from world_model.outcome_config import OutcomeConfig
from world_model.presets import get_preset
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.world import World
from world_model.world_config import WorldConfig

FRAME_SHAPE = (16, 16, 3)


def randomise(module: nn.Module, seed: int = 0, scale: float = 0.1) -> None:
    """Fills every parameter with noise: the zero-initialised ones too, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def tiny_world(
    *, contexts: int = 5, outcome: bool = True, seed: int = 0, spec: ActionSpec | None = None
) -> World:
    """A world of 16x16 frames with random weights; three actions, or those of ``spec``."""
    preset = get_preset("tiny")
    if spec is None:
        spec = ActionSpec.from_space(spaces.Discrete(3), names=["stay", "left", "right"])
    torch.manual_seed(seed)
    network = NextFrameDiffusion(preset.network, spec)
    randomise(network, seed)
    model = None
    if outcome:
        model = OutcomeModel(OutcomeConfig.for_frames(FRAME_SHAPE, hidden=16, embedding=16), spec)
        randomise(model, seed + 1)
    rng = np.random.default_rng(seed)
    actions = _sample(spec, rng, contexts, preset.context_length)
    actions[:, 0] = np.nan
    frames = rng.integers(0, 256, (contexts, preset.context_length, *FRAME_SHAPE), np.uint8)
    world = World(
        config=WorldConfig(
            name="tiny",
            frame_shape=FRAME_SHAPE,
            context_length=preset.context_length,
            context_noise=0.1,
            max_episode_steps=50,
        ),
        action_spec=spec,
        tokenizer=PixelPatchTokenizer(PixelPatchConfig(frame_shape=FRAME_SHAPE, std=60.0)),
        network=network,
        flow=preset.flow,
        outcome=model,
        contexts=ContextSet(frames=frames, actions=actions) if contexts else None,
        card="# tiny\n",
    )
    for module in world._modules():
        module.eval().requires_grad_(False)
    return world


def minecraft_world(name: str = "minerl") -> World:
    """A tiny world that was trained on actions of one of Minecraft's formats."""
    return tiny_world(spec=FORMATS[name].spec)


def _sample(spec: ActionSpec, rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Encoded actions, float32 (*shape, K)."""
    if isinstance(spec.space, spaces.Discrete):
        return rng.integers(0, spec.space.n, (*shape, 1)).astype(np.float32)
    space = deepcopy(spec.space)
    space.seed(int(rng.integers(2**31)))
    flat = [spec.encode(space.sample()) for _ in range(int(np.prod(shape)))]
    return np.array(flat, np.float32).reshape(*shape, spec.dim)


def world_without_previous_frames() -> World:
    """A tiny world whose network is given no previous frames, as joint speculation needs it."""
    world = tiny_world()
    config = replace(world.network.config, previous_frames=0, transport=None)
    torch.manual_seed(0)
    world.network = NextFrameDiffusion(config, world.action_spec).eval().requires_grad_(False)
    randomise(world.network, scale=0.2)
    return world
