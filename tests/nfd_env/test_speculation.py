"""Speculation behind the environment: it never shows."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from nfd_env import NFDWorldEnv
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world
from world_model.errors import ActionError, ConfigError
from world_model.speculation import AheadRollout, BranchRollout

SETTINGS = {"max_episode_steps": 12, "sampling_steps": 2}


def episode(env, seed, steps=40):
    """Everything that an agent sees of steps, resets, snapshots and returns to them."""
    rng = np.random.default_rng(seed)
    seen = [env.reset(seed=seed)]
    snapshot, action = env.save_state(), 0
    for _ in range(steps):
        event = rng.random()
        if event < 0.1:
            seen.append(env.restore_state(snapshot))
        elif event < 0.2:
            seen.append(env.restore_state(snapshot, seed=int(rng.integers(9))))
        elif event < 0.3:
            snapshot = env.save_state()
        elif event < 0.4:
            seen.append(env.reset())
        if event < 0.5:
            env.hint([int(rng.integers(3))])
        else:
            rng.integers(3)
        action = action if rng.random() < 0.7 else int(rng.integers(3))
        if env.core.finished[0]:
            seen.append(env.reset())
        seen.append(env.step(action))
    return seen


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert np.array_equal(one, other)


@pytest.mark.parametrize("mode", ["auto", "ahead"])
def test_an_agent_sees_the_same(mode):
    world = tiny_world()
    for seed in (0, 1):
        with (
            NFDWorldEnv(world, speculation=mode, speculation_depth=2, **SETTINGS) as env,
            NFDWorldEnv(world, speculation="off", **SETTINGS) as plain,
        ):
            assert_same(episode(env, seed), episode(plain, seed))
            if mode == "ahead":
                assert env.speculation["accepted"] > 5


def test_branches_are_near_what_a_single_stream_shows():
    world = tiny_world()
    with (
        NFDWorldEnv(world, speculation="branch", endless=True) as env,
        NFDWorldEnv(world, speculation="off", endless=True) as plain,
    ):
        env.reset(seed=0)
        plain.reset(seed=0)
        for action in (0, 1, 2, 2, 1, 0):
            ours, theirs = env.step(action)[0], plain.step(action)[0]
            # A network of random weights makes more of a last digit than a trained one.
            assert (np.abs(ours.astype(int) - theirs.astype(int)) <= 1).mean() > 0.99
        assert env.speculation["acceptance_rate"] == 1.0


def test_each_mode_by_its_name():
    world = tiny_world()
    assert NFDWorldEnv(world, speculation="off").speculation is None
    assert isinstance(NFDWorldEnv(world).core.rollout, AheadRollout)
    branch = NFDWorldEnv(world, speculation="branch", speculation_depth=2).core.rollout
    assert isinstance(branch, BranchRollout)
    assert branch.width == 2
    with pytest.raises(ConfigError, match="frames before"):
        NFDWorldEnv(world, speculation="joint")
    with pytest.raises(ConfigError, match="'sideways'"):
        NFDWorldEnv(world, speculation="sideways")
    with pytest.raises(ValueError, match="speculation_depth"):
        NFDWorldEnv(world, speculation="ahead", speculation_depth=0)


def test_a_vector_of_environments_does_not_speculate_but_one_of_one_may():
    settings = {"world": "tests.world_model.tiny:tiny_world"}
    envs = gym.make_vec("NFD-World-v0", num_envs=2, **settings)
    assert not hasattr(envs.unwrapped.core.rollout, "counts")
    with pytest.raises(ConfigError, match="one stream, not 2"):
        gym.make_vec("NFD-World-v0", num_envs=2, speculation="ahead", **settings)
    envs = gym.make_vec("NFD-World-v0", num_envs=1, speculation="ahead", **settings)
    envs.reset(seed=0)
    for _ in range(4):
        envs.step(np.array([1]))
    assert envs.unwrapped.core.rollout.counts.accepted >= 2
    envs.close()


@pytest.mark.parametrize("mode", ["ahead", "branch"])
def test_passes_gymnasiums_checker(mode):
    settings = {"world": "tests.world_model.tiny:tiny_world", "speculation": mode}
    env = gym.make("NFD-World-v0", **settings)
    check_env(env.unwrapped, skip_render_check=True)
    again = gym.make(env.spec)
    assert again.unwrapped.core.rollout.counts.steps == 0
    again.close()
    env.close()
    env.close()


def test_hints_are_checked():
    with NFDWorldEnv(tiny_world(), speculation="ahead") as env:
        with pytest.raises(ResetNeeded):
            env.hint([1])
        env.reset(seed=0)
        with pytest.raises(ActionError):
            env.hint([7])
        env.hint([])
        env.hint([2, 1])
        env.step(2)
        assert env.speculation["accepted"] == 1


def test_without_speculation_a_hint_does_nothing():
    with NFDWorldEnv(ToyWorld()) as env:
        env.reset(seed=0)
        env.hint([1])
        with pytest.raises(ActionError):
            env.hint([9])
        assert env.speculation is None
