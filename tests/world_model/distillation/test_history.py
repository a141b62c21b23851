"""Windows that the network imagined itself, and windows covered with junk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.world_model.tiny import tiny_world
from world_model.distillation import history
from world_model.distillation.history import cover_with_junk, history_of, own_frames
from world_model.flow import FlowConfig
from world_model.rollout import Rollout
from world_model.types import Context

CONFIG = FlowConfig(loss="energy", noise_fraction=1.0, context_fraction=0.0, own_fraction=0.5)


def windows(world, batch=6, frames=6, *, darkest=0, brightest=256):
    generator = torch.Generator().manual_seed(0)
    shape = (batch, frames, *world.config.frame_shape)
    images = torch.randint(darkest, brightest, shape, generator=generator, dtype=torch.uint8)
    actions = torch.randint(0, 3, (batch, frames, 1), generator=generator).float()
    actions[:, 0] = torch.nan
    return world.tokenizer.encode(images), actions


def imagined(world, latents, actions, config=CONFIG, *, level=0.0, t=1.0, first=1):
    """All windows, imagined."""
    every = torch.ones(len(latents))
    return own_frames(
        world.network,
        latents,
        actions,
        config,
        torch.Generator().manual_seed(3),
        first=torch.full((len(latents),), first),
        t=every * t,
        level=every * level,
    )


def test_frames_are_real_up_to_a_random_one_and_imagined_from_there():
    world = tiny_world()
    latents, actions = windows(world, batch=40)
    config = replace(CONFIG, own_fraction=1.0)
    made = history_of(world.network, latents, actions, config, torch.Generator())
    real = (made == latents).all(-1).all(-1)
    assert real[:, 0].all()  # nothing to imagine a first frame from
    assert not real[:, -1].any()
    assert torch.equal(real, real.cummin(dim=1).values)  # no way back
    assert set(real.sum(1).tolist()) == {1, 2, 3, 4, 5}


def test_they_are_imagined_as_in_streaming():
    """With a network that ignores its noise, training's frames are those of the rollout."""
    world = tiny_world(outcome=False)
    with torch.no_grad():
        world.network.embed.weight[:, : world.network.config.token_dim] = 0.0
        for layer in (world.network.project_out, world.network.project_filters):
            layer.weight.mul_(0.02)  # small changes: pixels of a rollout stay in 0..255
            layer.bias.mul_(0.02)
    world = replace(world, config=replace(world.config, context_noise=0.0))
    latents, actions = windows(world, darkest=100, brightest=156)
    made = imagined(world, latents, actions)
    rollout = Rollout(world, sampling_steps=1, termination_mode="never")
    frames = world.tokenizer.decode(latents[:, :1])
    state = rollout.begin(Context(frames, actions[:, :1]), torch.arange(len(made)))
    for i in range(1, made.shape[1]):
        state, outcome = rollout.advance(state, actions[:, i])
        assert torch.allclose(outcome.latents, made[:, i], atol=0.05)  # the rollout rounds pixels


def test_noise_that_hides_little_keeps_them_near_what_happened():
    """With a network that answers with what it sees, the frames are the noised real ones."""
    world = tiny_world()
    latents, actions = windows(world)
    seen = []
    stream, modulation = world.network.stream, world.network.modulation

    def spy(x, *rest, full):
        seen.append(x[:, 1])
        assert full == (len(seen) >= world.network.config.window)
        return stream(x, *rest, full=full)

    def heard(t, actions, previous_t, step):
        assert (step == torch.tensor([0.0, 0.25])).all()  # made in one step, all of the way
        assert (t[:, 0] == 0.1).all()
        assert (t[:, 1] == 0.25).all()
        return modulation(t, actions, previous_t, step)

    world.network.stream, world.network.modulation = spy, heard
    imagined(world, latents, actions, level=0.1, t=0.25)
    for i, x in enumerate(seen, start=1):
        noise = (x - 0.75 * latents[:, i]) / 0.25
        assert noise.std().item() == pytest.approx(1.0, abs=0.1)


def test_a_consistency_function_is_blended_as_in_streaming():
    world = tiny_world()
    latents, actions = windows(world)
    blended = replace(CONFIG, loss="scm")
    at_half = [imagined(world, latents, actions, config, t=0.5) for config in (CONFIG, blended)]
    torch.testing.assert_close(*at_half, rtol=1e-3, atol=1e-2)
    near = [imagined(world, latents, actions, config, t=0.05)[:, 1] for config in (CONFIG, blended)]
    real = latents[:, 1]
    assert (near[1] - real).abs().mean() < 0.5 * (near[0] - real).abs().mean()


def test_a_share_of_the_windows_is_imagined():
    world = tiny_world()
    latents, actions = windows(world, batch=5)
    config = replace(CONFIG, own_fraction=0.25)
    made = history_of(world.network, latents, actions, config, torch.Generator())
    real = (made == latents).flatten(1).all(-1)
    assert real.tolist() == [False, False, True, True, True]  # a quarter of five, rounded up
    config = replace(CONFIG, own_fraction=0.0)
    assert torch.equal(history_of(None, latents, actions, config, torch.Generator()), latents)


def test_windows_that_retrace_are_never_made_from_noise_alone(monkeypatch):
    world = tiny_world()
    latents, actions = windows(world, batch=40)
    times = []

    def note(model, latents, *rest, t, **others):
        times.append(t)
        return latents

    monkeypatch.setattr(history, "own_frames", note)
    for retraces in (False, True):
        config = replace(CONFIG, own_fraction=1.0, own_retraces=retraces)
        history_of(world.network, latents, actions, config, torch.Generator().manual_seed(1))
    assert (times[0] == 1).all()
    assert (times[1] < 1).all()
    assert times[1].unique().numel() == 40


def test_no_gradient_flows_through_what_was_imagined():
    world = tiny_world()
    world.network.requires_grad_(True)
    latents, actions = windows(world)
    assert not imagined(world, latents, actions).requires_grad


def test_junk_covers_a_share_of_the_windows_with_tokens_from_elsewhere():
    latents = torch.arange(400 * 3 * 8.0).reshape(400, 3, 8, 1)  # every token is another one
    made = cover_with_junk(latents, 0.25, torch.Generator().manual_seed(0))
    changed = (made != latents).squeeze(-1)
    windows = changed.flatten(1).any(1)
    assert 0.15 < windows.float().mean() < 0.3
    wholly = changed.flatten(1).all(1) & windows
    assert 0.3 < wholly.sum() / windows.sum() < 0.8
    kinds = [len(window.unique()) for window in made[wholly]]
    assert set(kinds) >= {1}  # all the same
    assert max(kinds) > 20  # all from somewhere else
    places = changed[windows]
    assert torch.equal(places[:, 0], places[:, 1])  # the same places in every frame
    assert torch.isin(made, latents).all()


def test_no_junk_is_no_change():
    latents = torch.randn(3, 2, 4, 6)
    assert cover_with_junk(latents, 0.0, torch.Generator()) is latents
    with pytest.raises(ValueError, match="junk_fraction must lie in"):
        FlowConfig(junk_fraction=1.5)
