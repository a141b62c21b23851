"""Speculation behind the environment: it never shows."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from nfd_env import NFDWorldEnv
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world, world_without_previous_frames
from world_model.errors import ActionError, ConfigError, ContextError
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


@pytest.mark.parametrize("depth", [None, 3])
def test_joint_speculation_is_reproducible(depth):
    settings = {"speculation": "joint", "speculation_depth": depth, "max_episode_steps": 12}
    with NFDWorldEnv(world_without_previous_frames(), **settings) as env:
        check_env(env, skip_render_check=True)
        first = episode(env, 3)
        episode(env, 4)
        assert_same(episode(env, 3), first)


def test_another_future_of_the_same_moment():
    settings = {"speculation": "joint", "speculation_depth": 4, "endless": True}
    with NFDWorldEnv(world_without_previous_frames(), **settings) as env:
        env.reset(seed=0)
        env.step(1)
        moment = env.save_state()
        futures = []
        for seed in (11, 22, None, None):
            env.restore_state(moment, seed=seed)
            futures.append(np.stack([env.step(1)[0] for _ in range(3)]))
        assert not np.array_equal(futures[0], futures[1])
        assert np.array_equal(futures[2], futures[3])


def test_snapshots_of_other_speculation_are_refused():
    world = world_without_previous_frames()
    kinds = [("off", None), ("joint", 2), ("joint", 4)]
    envs = [
        NFDWorldEnv(world, speculation=mode, speculation_depth=depth, endless=True)
        for mode, depth in kinds
    ]
    for env in envs:
        env.reset(seed=0)
        env.step(1)
    for one in envs:
        for other in envs:
            if one is not other:
                with pytest.raises(ContextError, match="other speculation"):
                    one.restore_state(other.save_state())
    with NFDWorldEnv(world, speculation="ahead", endless=True) as ahead:
        ahead.reset(seed=0)
        ahead.restore_state(envs[0].save_state())
        assert np.array_equal(ahead.step(2)[0], envs[0].step(2)[0])
