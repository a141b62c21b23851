"""The paper's speculation: exact at depth 1, and each go starts from what was really seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.world_model.tiny import tiny_world, world_without_previous_frames
from world_model.errors import ActionError, ConfigError
from world_model.rollout import Rollout
from world_model.speculation import JointRollout
from world_model.types import Context


def act(value):
    return torch.tensor([[float(value)]])


def begin(rollout, seed=3):
    return rollout.begin(rollout.world.contexts.pick([0]), torch.tensor([seed]))


@pytest.mark.parametrize("steps", [1, 3])
def test_one_frame_in_a_go_is_the_plain_rollout(steps):
    world = world_without_previous_frames()
    plain, joint = (Rollout(world, sampling_steps=steps) for _ in range(2))
    joint = JointRollout(joint, 1)
    one, other = begin(plain), begin(joint)
    for action in (0, 1, 1, 2, 2, 2, 0, 1):
        one, ours = plain.advance(one, act(action))
        other, theirs = joint.advance(other, act(action))
        assert (ours.frames.int() - theirs.frames.int()).abs().max() <= 1
        assert torch.equal(ours.terminated, theirs.terminated)
        assert torch.allclose(ours.uncertainty, theirs.uncertainty, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 2])
def test_every_go_begins_with_what_was_really_seen(steps):
    """The first frame of a go is that of a rollout that was given all frames so far."""
    world = world_without_previous_frames()
    plain, joint = (Rollout(world, sampling_steps=steps) for _ in range(2))
    joint = JointRollout(joint, 3)
    context = world.contexts.pick([0])
    state, seed = joint.begin(context, torch.tensor([3])), torch.tensor([3])
    frames, actions = context.frames, context.actions
    rng = np.random.default_rng(0)
    action, checked = 0, 0
    for _ in range(30):
        if rng.random() < 0.4:
            action = int(rng.integers(3))
        before = joint.counts.accepted
        state, outcome = joint.advance(state, act(action))
        if joint.counts.accepted == before:  # a new go
            told = Context(frames, actions, context.outcome_memory)
            expected = plain.advance(plain.begin(told, seed), act(action))[1]
            assert (expected.frames.int() - outcome.frames.int()).abs().max() <= 1
            checked += 1
        frames = torch.cat([frames, outcome.frames[:, None]], dim=1)
        actions = torch.cat([actions, act(action)[:, None]], dim=1)
    assert 5 < checked < 25
    assert joint.counts.discarded > 0


def test_frames_of_one_go_share_its_passes():
    world = world_without_previous_frames()
    joint = JointRollout(Rollout(world, sampling_steps=2), 4)
    state, calls = begin(joint), []
    stream = world.network.stream
    world.network.stream = lambda *args, **kwargs: (calls.append(1), stream(*args, **kwargs))[1]
    for _ in range(8):
        state, _ = joint.advance(state, act(1))
    assert len(calls) == 2 * 2
    assert joint.counts.accepted == 6
    state, _ = joint.advance(state, act(2))
    assert len(calls) == 3 * 2
    assert joint.counts.discarded == 0
    state, _ = joint.advance(state, act(0))
    assert joint.counts.discarded == 3


def test_it_repeats_bit_for_bit_from_a_clone_and_does_not_grow():
    world = world_without_previous_frames()
    joint = JointRollout(Rollout(world), 3)
    state = begin(joint)
    state, _ = joint.advance(state, act(1))
    size, saved = [t.shape for t in state.tensors()], state.clone()
    first = []
    for action in (1, 1, 2, 2):
        state, outcome = joint.advance(state, act(action))
        first.append(outcome.frames)
    again = saved.select(torch.tensor([0])).to("cpu")
    for frames, action in zip(first, (1, 1, 2, 2), strict=True):
        again, outcome = joint.advance(again, act(action))
        assert torch.equal(outcome.frames, frames)
    assert [t.shape for t in again.tensors()] == size
    saved.scatter(torch.tensor([0]), again)
    assert torch.equal(saved.drafts, again.drafts)


def test_other_seeds_throw_away_what_was_drafted():
    world = world_without_previous_frames()
    joint = JointRollout(Rollout(world), 4)
    state, _ = joint.advance(begin(joint), act(1))
    futures = []
    for seed in (11, 22):
        other = state.clone()
        other.seeds.fill_(seed)
        futures.append(joint.advance(other, act(1))[1].frames)
    assert not torch.equal(*futures)


def test_an_episode_does_not_depend_on_those_before():
    world = world_without_previous_frames()
    joint = JointRollout(Rollout(world), 4, adaptive=True, marginal_cost=0.2)

    def episode():
        state, frames = begin(joint), []
        for action in (1, 1, 1, 1, 1, 1, 2, 2, 2, 2):
            state, outcome = joint.advance(state, act(action))
            frames.append(outcome.frames)
        return torch.stack(frames)

    first = episode()
    state = begin(joint, seed=9)
    for step in range(20):
        state, _ = joint.advance(state, act(step % 3))
    assert torch.equal(episode(), first)


def test_the_depth_follows_the_repeats():
    world = world_without_previous_frames()
    joint = JointRollout(Rollout(world), 4, adaptive=True, marginal_cost=0.2)
    state = begin(joint)
    for step in range(20):
        state, _ = joint.advance(state, act(step % 3))
    assert int(state.drafted) == 1
    for _ in range(60):
        state, _ = joint.advance(state, act(1))
    assert int(state.drafted) > 1


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="2 frames before each frame"):
        JointRollout(Rollout(tiny_world()))
    world = world_without_previous_frames()
    with pytest.raises(ValueError, match="at least 1, not 0"):
        JointRollout(Rollout(world), 0)
    joint = JointRollout(Rollout(world), 2)
    with pytest.raises(ConfigError, match="one stream, not 2"):
        joint.begin(world.contexts.pick([0, 1]), torch.tensor([0, 1]))
    state = begin(joint)
    with pytest.raises(ActionError, match="NaN"):
        joint.advance(state, act(float("nan")))
    with pytest.raises(ConfigError, match="one stream, not 2"):
        joint.advance(state.select(torch.tensor([0, 0])), torch.zeros(2, 1))
