"""What only trained weights can show, for every world that comes with the package."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from nfd_env.env import NFDWorldEnv
from nfd_env.vector_env import NFDWorldVectorEnv
from world_model.errors import ConfigError
from world_model.registry import bundled_worlds
from world_model.world import World

NAMES = sorted(bundled_worlds())


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


def test_is_made_by_name_and_starts_from_its_own_clips(name):
    env = gym.make("NFD-World-v0", world=name)
    world = env.unwrapped.world
    assert env.unwrapped.model_id.startswith(f"{name}@{world.config.version}#")
    newest = world.contexts.frames[:, -1]
    starts = {int((newest == env.reset(seed=seed)[0]).all((1, 2, 3)).argmax()) for seed in range(9)}
    assert len(starts) > 3
    frame, reward, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(frame)
    assert np.isfinite(reward)


@pytest.mark.parametrize(("streams", "sampling_steps"), [(2, 2), (3, 1), (4, 2), (7, 2), (16, 1)])
def test_a_stream_looks_like_a_single_environment(name, streams, sampling_steps):
    """The same noise bits, and frames within 1 / 255 over 16 steps on a CPU, whatever the draw.

    A network that makes samples answers to every bit of what it is given: what it would make of
    a last digit in one step, others make more of.
    """
    settings = {"world": name, "device": "cpu", "endless": True, "sampling_steps": sampling_steps}
    seed = 20 * streams
    envs = NFDWorldVectorEnv(streams, **settings)
    envs.reset(seed=seed)
    singles = {i: NFDWorldEnv(**settings) for i in (0, streams - 1)}
    for i, single in singles.items():
        single.reset(seed=seed + i)
    envs.action_space.seed(0)
    for _ in range(16):
        actions = envs.action_space.sample()
        frames, rewards, *_ = envs.step(actions)
        for i, single in singles.items():
            frame, reward, *_ = single.step(actions[i])
            assert abs(reward - rewards[i]) <= 1e-4
            assert np.abs(frame.astype(int) - frames[i]).max() <= 1


def test_the_same_seed_gives_the_same_episode(name):
    episodes = []
    for _ in range(2):
        env = gym.make("NFD-World-v0", world=name, device="cpu")
        env.reset(seed=3)
        env.action_space.seed(3)
        episodes.append([env.step(env.action_space.sample())[:3] for _ in range(12)])
    for one, two in zip(*episodes, strict=True):
        assert np.array_equal(one[0], two[0])
        assert one[1:] == two[1:]


def test_the_default_world_is_bundled_once_any_is():
    from nfd_env.building import DEFAULT_WORLD

    assert not NAMES or DEFAULT_WORLD in NAMES


def test_the_default_world_brings_its_teacher():
    from nfd_env.building import DEFAULT_WORLD

    assert not NAMES or World.from_pretrained(DEFAULT_WORLD).teacher is not None


def test_a_distilled_world_plays_its_teacher_or_says_that_it_has_none(name):
    world = World.from_pretrained(name)
    if not world.flow.makes_samples:
        pytest.skip("not distilled")
    if world.teacher is None:  # a repository has only so much room
        with pytest.raises(ConfigError, match="keeps no teacher"):
            gym.make("NFD-World-v0", world=name, teacher=True, device="cpu")
        return
    env = gym.make("NFD-World-v0", world=name, teacher=True, device="cpu")
    first, _ = env.reset(seed=0)
    teacher = env.unwrapped.world
    assert not teacher.flow.makes_samples
    assert teacher.config.sampling_steps > world.config.sampling_steps
    frame = env.step(1)[0]
    assert 0 < np.abs(frame.astype(int) - first).mean() < 30  # another frame of the same place
