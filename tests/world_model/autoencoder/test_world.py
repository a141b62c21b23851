"""A world whose tokens are an autoencoder's: saved, opened, played, streamed."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

import nfd_env  # noqa: F401  (registers the environment)
from tests.world_model.autoencoder.tiny import world_with_autoencoder
from world_model.errors import WorldFormatError
from world_model.flow import add_noise, predict_x0
from world_model.noise import Purpose, normal, stream_keys
from world_model.rollout import Rollout
from world_model.world import World


@pytest.fixture(scope="module")
def world():
    return world_with_autoencoder()


@pytest.fixture
def saved(world, tmp_path):
    return world.save_pretrained(tmp_path / "world", dtype=torch.float16)


def imagine(world: World, steps: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rollout = Rollout(world)
    state = rollout.begin(world.contexts.pick([0, 1]), torch.tensor([5, 6]))
    for step in range(steps):
        state, outcome = rollout.advance(state, torch.full((2, 1), float(step % 3)))
    return outcome.frames, outcome.latents


def test_the_autoencoder_comes_back_bit_for_bit_whatever_the_transformers_format(world, saved):
    again = World.from_pretrained(saved)
    assert again.tokenizer.config == world.tokenizer.config
    for (name, a), (same, b) in zip(
        world.tokenizer.state_dict().items(), again.tokenizer.state_dict().items(), strict=True
    ):
        assert name == same
        assert torch.equal(a, b), name
    assert not any(p.requires_grad for p in again.tokenizer.parameters())
    twice = World.from_pretrained(again.save_pretrained(saved))
    frames, _ = imagine(again)
    assert torch.equal(imagine(twice)[0], frames)
    assert twice.model_id == again.model_id


@pytest.mark.parametrize("damage", ["missing", "bit"])
def test_a_damaged_autoencoder_is_one_clear_error(saved, damage):
    path = saved / "tokenizer.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if damage == "bit":
        path.write_bytes(content)
    with pytest.raises(WorldFormatError, match=r"tokenizer\.safetensors is (missing|damaged)"):
        World.from_pretrained(saved)


def test_it_plays_in_gymnasium(saved):
    with gym.make("NFD-World-v0", world=str(saved), endless=True) as env:
        first, _ = env.reset(seed=3)
        assert first.shape == (16, 16, 3)
        shown = [env.step(action)[0] for action in (0, 1, 2, 1)]
        again, _ = env.reset(seed=3)
        assert np.array_equal(first, again)
        for action, frame in zip((0, 1, 2, 1), shown, strict=True):
            assert np.array_equal(env.step(action)[0], frame)
    envs = gym.make_vec("NFD-World-v0", num_envs=3, world=str(saved))
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (3, 16, 16, 3)
    assert envs.step(np.array([0, 1, 2]))[0].dtype == np.uint8
    envs.close()


def test_streaming_equals_one_dense_masked_forward(world):
    """Latents are fed back as they are, so frames only show what they decode to."""
    rollout = Rollout(world, sampling_steps=1)
    context, seeds = world.contexts.pick([0, 1]), torch.tensor([10, 11])
    state = rollout.begin(context, seeds)
    clean = list(world.tokenizer.encode(context.frames).unbind(1))
    actions = list(context.actions.unbind(1))
    t_ctx = rollout.context_noise
    for step in range(2 * world.network.config.window):
        action = torch.tensor([[step % 3], [(step + 1) % 3]], dtype=torch.float32)
        state, outcome = rollout.advance(state, action)
        count = len(clean)

        def noise(purpose, index, like=clean[0]):
            keys = stream_keys(seeds, torch.full_like(seeds, index), purpose)
            return normal(keys, tuple(like.shape[1:]))

        x = noise(Purpose.SAMPLE, count)
        level = torch.full((2,), t_ctx)
        noised = [add_noise(z, noise(Purpose.CONTEXT, i), level) for i, z in enumerate(clean)]
        t = torch.full((2, count + 1), t_ctx)
        t[:, -1] = 1.0
        with torch.no_grad():
            raw = world.network(torch.stack([*noised, x], 1), t, torch.stack([*actions, action], 1))
        expected = predict_x0(raw[:, -1], x, t[:, -1], None, world.flow)
        torch.testing.assert_close(outcome.latents, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(outcome.frames, world.tokenizer.decode(outcome.latents))
        clean.append(outcome.latents)
        actions.append(action)


def test_another_precision_decodes_with_a_copy(world):
    rollout = Rollout(world, precision="bfloat16")
    assert rollout.tokenizer.decoder.layers[0].weight.dtype == torch.bfloat16
    assert world.tokenizer.decoder.layers[0].weight.dtype == torch.float32
    state = rollout.begin(world.contexts.pick([0, 1]), torch.tensor([5, 6]))
    assert rollout.advance(state, torch.zeros(2, 1))[1].frames.dtype == torch.uint8
