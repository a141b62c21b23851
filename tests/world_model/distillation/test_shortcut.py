"""Shortcut forcing where the answer is known, and step sizes in the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.world_model.distillation.gaussian import (
    FLOW,
    MEAN,
    STD,
    batch,
    conditions,
    data,
    distil,
    posterior_mean,
)
from tests.world_model.tiny import tiny_world
from world_model.distillation.shortcut import Shortcut, ShortcutConfig, told_step_sizes
from world_model.flow import add_noise
from world_model.rollout import Rollout
from world_model.types import Context

GAUSSIAN = replace(FLOW, loss="shortcut")


def right_answer(x, t, *rest):
    """The clean number that a step along the exact flow points at; its mean without a length."""
    step = rest[-1][..., None, None]
    t4 = t[..., None, None]
    less = (t4 - step).clamp(min=0)

    def spread(level):
        return (((1 - level) * STD) ** 2 + level**2).sqrt()

    place = (x - (1 - t4) * MEAN) / spread(t4)
    there = (1 - less) * MEAN + spread(less) * place
    far = (there - less / t4 * x) / (step / t4).clamp(min=1e-6)
    return torch.where(step > 0, far, posterior_mean(x, t))


def loss_of(student, levels):
    latents = data(2000, 0)
    method = Shortcut(GAUSSIAN, ShortcutConfig(levels=levels, shortcut_fraction=1.0))
    return method.loss(student, student, batch(latents, 0, 1), conditions(latents)).item()


def test_the_right_answer_has_almost_no_loss_and_less_with_shorter_steps():
    coarse, fine = loss_of(right_answer, 3), loss_of(right_answer, 7)
    assert fine < 0.1 * coarse
    assert coarse < 0.3 * loss_of(posterior_mean, 3)


def test_without_steps_of_a_length_it_is_the_loss_of_the_base_training():
    latents = data(2000, 0)
    method = Shortcut(GAUSSIAN, ShortcutConfig(shortcut_fraction=0.0))
    given = batch(latents, 0, 1)
    loss = method.loss(posterior_mean, posterior_mean, given, conditions(latents))
    # No estimate is better than the mean: any other scores worse.
    other = method.loss(
        lambda x, t, *rest: posterior_mean(x, t) + 0.1,
        posterior_mean,
        batch(latents, 0, 1),
        conditions(latents),
    )
    assert 0.001 < loss.item() < other.item()


class Stepper(nn.Module):
    """A small network that knows a number, its noise level and the length of the step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, x, t, *rest):
        step = rest[-1] if len(rest) == 6 else torch.ones_like(t)
        told = [v[..., None, None].expand_as(x) for v in (t, step)]
        return self.layers(torch.stack([x, *told], dim=-1)).squeeze(-1)


@pytest.mark.slow
def test_one_step_learns_the_whole_distribution():
    torch.manual_seed(0)
    student = Stepper()
    optimizer = torch.optim.Adam(student.parameters(), 5e-3)
    for i in range(400):
        latents, t = data(16, i), torch.rand(16, 2)
        x = add_noise(latents, torch.randn(latents.shape), t)
        nothing = (None,) * 5
        loss = (student(x, t, *nothing, torch.zeros_like(t)) - posterior_mean(x, t)).square()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    made = distil(student, Shortcut(GAUSSIAN), 3e-3)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert made.std().item() == pytest.approx(STD, rel=0.2)


def test_steps_begin_at_multiples_of_their_length():
    method = Shortcut(GAUSSIAN, ShortcutConfig(levels=4))
    t, step = method._draw((4000, 2), torch.Generator().manual_seed(0))
    stepping = step > 0
    assert 0.55 < stepping.float().mean() < 0.65
    assert set(step[stepping].tolist()) == {1.0, 0.5, 0.25, 0.125}
    count = t[stepping] / step[stepping]
    torch.testing.assert_close(count, count.round())
    assert count.min() >= 1
    assert (t[stepping] == 1).float().mean() > 0.4


def test_a_network_can_be_taught_step_sizes_and_does_not_heed_them_at_first(monkeypatch):
    world = tiny_world()
    told = told_step_sizes(world.network)
    assert told_step_sizes(told) is told
    context = world.contexts.pick([0, 1])

    def play(network, sampling_steps):
        rollout = Rollout(
            replace(world, network=network, _networks={}),
            sampling_steps=sampling_steps,
            sampler="euler",
        )
        state = rollout.begin(Context(context.frames, context.actions), torch.tensor([1, 2]))
        action = torch.zeros(2, world.action_spec.dim)
        return rollout.advance(state, action)[1].latents

    torch.testing.assert_close(play(told, 2), play(world.network, 2))
    # Once heeded, the rollout tells it the length of each step.
    seen = []
    with torch.no_grad():
        told.embed_step.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        play(told, 2)
        monkeypatch.setattr("world_model.rollout.fits", lambda *_: False)
        play(told, 2)
    # After what episodes begin with: of the last frame, with and without one before it, and of the
    # new one in either pass, under every action, the null one too.
    _, table, _, at_once = ([row.tolist() for row in given] for given in seen)
    assert table == [[0.0, 0.0, 0.5, 0.5]] * 4
    # And without a table, of the two streams.
    assert at_once == [[0.0, 0.5, 0.5]] * 2


def test_dense_and_streaming_hear_the_same():
    world = tiny_world()
    network = told_step_sizes(world.network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    config = network.config
    latents = torch.randn(1, 3, config.tokens, config.token_dim, generator=generator)
    t, step = torch.rand(2, 1, 3, generator=generator)
    actions = torch.zeros(1, 3, world.action_spec.dim)
    previous = previous_t = None
    if config.previous_frames:
        width = config.previous_frames * config.token_dim
        previous, previous_t = torch.randn(1, 3, config.tokens, width), torch.rand(1, 3)
    with torch.no_grad():
        dense = network(latents, t, actions, previous, previous_t, step=step)
        index = torch.arange(3)[None]
        modulation = network.modulation(t, actions, previous_t, step)
        cache = network.empty_cache(1)
        streamed = network.stream(latents, modulation, index, cache, previous, emit=3)
        other = network(latents, t, actions, previous, previous_t, step=step / 2)
    torch.testing.assert_close(streamed, dense, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(other, dense, atol=1e-4)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="levels must be at least 1"):
        ShortcutConfig(levels=0)
    with pytest.raises(ValueError, match="start_fraction must lie in"):
        ShortcutConfig(start_fraction=1.5)
