"""Moments in the midst of episodes, where short imagined ones start."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.environments import training_starts
from nfd_env import make_sb3_vec_env
from nfd_env.starts import make_starts
from tests.nfd_env.test_start_sources import Store
from tests.toy import FRAME_SHAPE, ToyWorld, record_episodes
from tests.world_model.tiny import tiny_world
from world_model import contexts, moments
from world_model.action_spec import ActionSpec
from world_model.contexts import clips_that_fit
from world_model.errors import ContextError, DataError
from world_model.moments import MomentIndex, cut_moments, memory_of
from world_model.outcome import OutcomeModel
from world_model.outcome_config import OutcomeConfig
from world_model.world import World

SPEC = ActionSpec.from_space(spaces.Discrete(3))


@pytest.fixture
def store():
    return Store(record_episodes(4))


@pytest.fixture
def outcome():
    torch.manual_seed(0)
    config = OutcomeConfig.for_frames(FRAME_SHAPE, hidden=8, embedding=8)
    return OutcomeModel(config, SPEC).eval()


def test_a_moment_remembers_all_that_came_before_it(store, outcome):
    cut = cut_moments(store, outcome, 12, 3)
    assert len(cut) == 12
    assert cut.start_step.max() > 3
    for i in range(12):
        first = int(cut.start_step[i])
        (found,) = [
            episode
            for index, episode in enumerate(store.episodes)
            if index in store.split("train")
            and np.array_equal(episode.frames[first : first + 3], cut.frames[i])
            and np.array_equal(episode.actions[first : first + 2], cut.actions[i, 1:])
        ][:1]
        memory = outcome.initial_memory(1)
        taken = np.concatenate([np.full((1, 1), np.nan), found.actions]).astype(np.float32)
        with torch.no_grad():
            for step in range(first):
                frame = torch.from_numpy(found.frames[step : step + 1].copy())
                memory = outcome.observe(memory, frame, torch.from_numpy(taken[step : step + 1]))
        np.testing.assert_allclose(cut.outcome_memory[i], memory[0].numpy(), atol=1e-5)
        assert np.isnan(cut.actions[i, 0]).all() == (first == 0)


def test_all_there_are_or_none(store, outcome):
    room = sum(len(store.episodes[i].frames) - 3 for i in store.split("train"))
    assert len(cut_moments(store, outcome, 10_000, 3)) == room
    assert cut_moments(store, outcome, 10, 500) is None
    assert cut_moments(store, outcome, 0, 3) is None
    assert cut_moments(store, None, 5, 3).outcome_memory is None
    with pytest.raises(DataError, match="2 episodes is longer than the 500 frames"):
        MomentIndex(store, store.split("train"), 500)


def test_a_long_episode_is_watched_piece_by_piece(store, outcome, monkeypatch):
    """Never more than a piece is read and computed, and what is remembered is the same."""
    place = len(MomentIndex(store, store.split("train"), 3)) - 1
    frames, actions = MomentIndex(store, store.split("train"), 3).upto(place)
    assert len(frames) > 10
    assert np.shares_memory(frames, store.frames)
    whole = memory_of(outcome, frames, actions)
    shown, forward = [], outcome.forward_sequence
    monkeypatch.setattr(
        outcome,
        "forward_sequence",
        lambda *given: shown.append(given[0].shape[1]) or forward(*given),
    )
    monkeypatch.setattr(moments, "PIECE_BYTES", 4 * math.prod(FRAME_SHAPE) + 1)
    parts = memory_of(outcome, frames, actions)
    assert sum(shown) == len(frames)
    assert max(shown) == 4
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert parts[0, -1] == len(frames)
    assert not parts.is_inference()


def test_a_fixed_amount_of_frames_at_most(store, outcome, monkeypatch):
    monkeypatch.setattr(contexts, "CLIP_BYTES", 5 * 3 * math.prod(FRAME_SHAPE) + 1)
    few = cut_moments(store, outcome, 12, 3)
    assert len(few) == 5
    assert few.outcome_memory.shape == (5, outcome.memory_size)
    monkeypatch.setattr(contexts, "CLIP_BYTES", 1)
    assert len(cut_moments(store, None, 12, 3)) == 1


def test_large_frames_leave_room_for_fewer_clips():
    assert clips_that_fit(64, 4, (64, 64, 3)) == 64  # Take Cover
    assert clips_that_fit(256, 4, (64, 64, 3)) == 256
    assert clips_that_fit(256, 16, (224, 384, 3)) == 32
    assert clips_that_fit(64, 16, (720, 1280, 3)) == 3


def test_they_travel_with_the_world_and_start_episodes(tmp_path):
    world = tiny_world()
    rng = np.random.default_rng(0)
    contexts = world.contexts.pick([0, 1, 2])
    memory = rng.normal(size=(3, world.outcome.memory_size)).astype(np.float32)
    world.moments = type(world.contexts)(
        frames=contexts.frames.numpy(),
        actions=np.nan_to_num(contexts.actions.numpy()),
        outcome_memory=memory,
        start_step=np.array([3, 5, 9]),
    )
    world.save_pretrained(tmp_path / "world")
    loaded = World.from_pretrained(tmp_path / "world")
    np.testing.assert_array_equal(loaded.moments.outcome_memory, memory)
    assert training_starts(loaded) == ("moments", 10)
    assert training_starts(loaded, horizon=7) == ("moments", 7)
    assert training_starts(loaded, "bundled") == ("bundled", None)
    assert training_starts(loaded, f"{tmp_path}#all") == (f"{tmp_path}#all", 10)
    (context,) = make_starts("moments", loaded).draw([4])
    assert context.outcome_memory[0].numpy() in memory
    envs = make_sb3_vec_env("NFD-World-v0", 2, world=loaded, contexts="moments")
    envs.seed(0)
    assert envs.reset().shape == (2, 16, 16, 3)
    assert envs.step(np.zeros(2, np.int64))[1].shape == (2,)


def test_a_world_without_moments():
    world = ToyWorld()
    assert training_starts(world) == ("bundled", None)
    with pytest.raises(ContextError, match="brings no moments to start from"):
        make_starts("moments", world).draw([0])
