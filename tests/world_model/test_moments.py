"""Moments in the midst of episodes, where short imagined ones start."""

from __future__ import annotations

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
from world_model.action_spec import ActionSpec
from world_model.errors import ContextError, DataError
from world_model.moments import MomentIndex, cut_moments
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
    moments = cut_moments(store, outcome, 12, 3)
    assert len(moments) == 12
    assert moments.start_step.max() > 3
    for i in range(12):
        first = int(moments.start_step[i])
        (found,) = [
            episode
            for index, episode in enumerate(store.episodes)
            if index in store.split("train")
            and np.array_equal(episode.frames[first : first + 3], moments.frames[i])
            and np.array_equal(episode.actions[first : first + 2], moments.actions[i, 1:])
        ][:1]
        memory = outcome.initial_memory(1)
        taken = np.concatenate([np.full((1, 1), np.nan), found.actions]).astype(np.float32)
        with torch.no_grad():
            for step in range(first):
                frame = torch.from_numpy(found.frames[step : step + 1].copy())
                memory = outcome.observe(memory, frame, torch.from_numpy(taken[step : step + 1]))
        np.testing.assert_allclose(moments.outcome_memory[i], memory[0].numpy(), atol=1e-5)
        assert np.isnan(moments.actions[i, 0]).all() == (first == 0)


def test_all_there_are_or_none(store, outcome):
    room = sum(len(store.episodes[i].frames) - 3 for i in store.split("train"))
    assert len(cut_moments(store, outcome, 10_000, 3)) == room
    assert cut_moments(store, outcome, 10, 500) is None
    assert cut_moments(store, outcome, 0, 3) is None
    assert cut_moments(store, None, 5, 3).outcome_memory is None
    with pytest.raises(DataError, match="2 episodes is longer than the 500 frames"):
        MomentIndex(store, store.split("train"), 500)


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
