from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecMonitor,
    VecTransposeImage,
)

import nfd_env
from nfd_env.env import NFDWorldEnv
from nfd_env.sb3_vec_env import NFDWorldVecEnv, make_sb3_vec_env
from tests.toy import ToyGame, ToyWorld, start_clip
from world_model.errors import ActionError, ContextError, WorldNotFoundError

TOY = "tests.toy:ToyWorld"


def assert_same_infos(ours, theirs, keys=None):
    for mine, other in zip(ours, theirs, strict=True):
        names = sorted(other) if keys is None else keys & set(other)
        if keys is None:
            assert sorted(mine) == names
        for name in names:
            assert np.array_equal(mine[name], other[name])
            assert type(mine[name]) is type(other[name])


def compare(ours, theirs, steps, keys=None):
    """Steps both with the same actions and compares everything that SB3 looks at."""
    rng = np.random.default_rng(0)
    ours.seed(5)
    theirs.seed(5)
    assert np.array_equal(ours.reset(), theirs.reset())
    assert_same_infos(ours.reset_infos, theirs.reset_infos, keys)
    ends = truncations = 0
    for _ in range(steps):
        actions = rng.integers(3, size=ours.num_envs)
        mine, other = ours.step(actions), theirs.step(actions)
        for x, y in zip(mine[:3], other[:3], strict=True):
            assert np.array_equal(x, y)
            assert x.dtype == y.dtype
        assert_same_infos(mine[3], other[3], keys)
        assert_same_infos(ours.reset_infos, theirs.reset_infos, keys)
        ends += mine[2].sum()
        truncations += sum(info["TimeLimit.truncated"] for info in mine[3])
    assert ends > truncations > 3


def test_equals_dummy_vec_env_of_the_real_game():
    settings = {"max_episode_steps": 25}
    theirs = DummyVecEnv([lambda: ToyGame(**settings)] * 4)
    keys = {"terminal_observation", "TimeLimit.truncated"}
    compare(NFDWorldVecEnv(4, ToyWorld(), **settings), theirs, 400, keys)


def test_equals_dummy_vec_env_of_the_single_env():
    settings = {"max_episode_steps": 25, "max_uncertainty": 2.0}
    world = ToyWorld(uncertain=True)
    theirs = DummyVecEnv([lambda: NFDWorldEnv(world, **settings)] * 3)
    compare(NFDWorldVecEnv(3, world, **settings), theirs, 300)


def test_every_end_is_told_apart():
    venv = NFDWorldVecEnv(8, ToyWorld(), max_episode_steps=15)
    venv.seed(0)
    venv.reset()
    kinds = set()
    for _ in range(60):
        frames, _, dones, infos = venv.step(np.ones(8, int))
        for i, info in enumerate(infos):
            assert ("terminal_observation" in info) == dones[i]
            if dones[i]:
                kinds.add(info["TimeLimit.truncated"])
                assert info["TimeLimit.truncated"] == (info["termination_probability"] < 1)
                assert not np.array_equal(info["terminal_observation"], frames[i])
                assert venv.reset_infos[i]["imagined_steps"] == 0
    assert kinds == {True, False}


def test_a_true_end_at_the_horizon_is_a_true_end():
    """The last step allowed brings the last miss: both flags are up."""
    settings = {"max_misses": 1}
    venv = NFDWorldVecEnv(1, ToyWorld(**settings))
    venv.seed(2)
    venv.reset()
    length = 1
    while not venv.step(np.ones(1, int))[2][0]:
        length += 1
    venv = NFDWorldVecEnv(1, ToyWorld(**settings), max_episode_steps=length)
    game = DummyVecEnv([lambda: ToyGame(**settings, max_episode_steps=length)])
    for envs in (venv, game):
        envs.seed(2)
        envs.reset()
        for _ in range(length):
            _, _, dones, infos = envs.step(np.ones(1, int))
        assert dones[0]
        assert infos[0]["TimeLimit.truncated"] is False


def test_made_by_id():
    venv = make_sb3_vec_env("NFD-World-v0", n_envs=3, world=TOY, max_episode_steps=7)
    assert isinstance(venv, NFDWorldVecEnv)
    assert venv.num_envs == 3
    assert venv.core.limits.max_episode_steps == 7
    assert nfd_env.make_sb3_vec_env is make_sb3_vec_env
    with pytest.raises(WorldNotFoundError, match="CartPole"):
        make_sb3_vec_env("CartPole-v1")


def test_the_seed_is_that_of_the_first_reset() -> None:
    envs = [make_sb3_vec_env(n_envs=3, world=TOY, seed=seed) for seed in (5, 5, 6)]
    frames = [env.reset() for env in envs]
    np.testing.assert_array_equal(frames[0], frames[1])
    infos = [[info["episode_seed"] for info in env.reset_infos] for env in envs]
    assert infos[0] == infos[1]
    assert infos[0] != infos[2]
    assert infos[0][1:] == infos[2][:2]  # stream i has seed + i


def test_made_by_an_id_of_the_users_own():
    gym.register(
        "TestToyWorld-v0",
        entry_point="nfd_env.env:NFDWorldEnv",
        max_episode_steps=9,
        kwargs={"world": TOY},
    )
    try:
        assert make_sb3_vec_env("TestToyWorld-v0").core.limits.max_episode_steps == 9
        given = make_sb3_vec_env("TestToyWorld-v0", max_episode_steps=4)
        assert given.core.limits.max_episode_steps == 4
    finally:
        del gym.registry["TestToyWorld-v0"]


def test_seeds_and_options_are_used_once():
    venv = NFDWorldVecEnv(2, ToyWorld())
    clips = [start_clip(i) for i in range(2)]
    options = [{"frames": frames, "actions": actions} for frames, actions in clips]
    venv.set_options(options)
    assert venv.seed(3) == [3, 4]
    frames = venv.reset()
    assert np.array_equal(frames, np.stack([clip[0][-1] for clip in clips]))
    assert [info["episode_seed"] for info in venv.reset_infos] == [3, 4]
    assert not np.array_equal(venv.reset(), frames)
    assert venv.reset_infos[0]["episode_seed"] != 3
    venv.set_options({"frames": clips[0][0][0]})  # one dict holds for all
    frames = venv.reset()
    assert all(np.array_equal(frame, clips[0][0][0]) for frame in frames)
    venv.set_options({"frame": clips[0][0]})
    with pytest.raises(ContextError, match="unknown reset options"):
        venv.reset()


def test_attributes_and_methods_of_streams():
    venv = NFDWorldVecEnv(3, ToyWorld(), render_mode="rgb_array")
    venv.reset()
    assert venv.get_attr("model_id") == ["toy@1#000000000000"] * 3
    assert venv.get_attr("render_mode", indices=[1]) == ["rgb_array"]
    assert not venv.has_attr("no_such_name")
    with pytest.raises(AttributeError, match="no_such_name"):
        venv.get_attr("no_such_name")
    with pytest.raises(AttributeError, match="no_such_method"):
        venv.env_method("no_such_method")
    venv.set_attr("difficulty", 2, indices=[0, 2])
    assert venv.get_attr("difficulty", indices=[0, 2]) == [2, 2]
    with pytest.raises(AttributeError):
        venv.get_attr("difficulty")
    assert venv.env_is_wrapped(gym.Wrapper) == [False] * 3
    assert not is_wrapped(venv, gym.Wrapper)


def test_snapshots_of_streams():
    venv = NFDWorldVecEnv(3, ToyWorld())
    venv.seed(0)
    venv.reset()
    venv.step(np.array([0, 1, 2]))
    (snapshot,) = venv.env_method("save_state", indices=1)
    expected = [venv.step(np.array([0, 1, 2])) for _ in range(4)]
    venv.env_method("restore_state", snapshot, indices=[1])
    for frames, rewards, *_ in expected:
        again = venv.step(np.array([0, 1, 2]))
        assert np.array_equal(again[0][1], frames[1])
        assert again[1][1] == rewards[1]
        assert not np.array_equal(again[0][0], frames[0])


def test_wrong_use():
    venv = NFDWorldVecEnv(2, ToyWorld())
    with pytest.raises(ResetNeeded):
        venv.step(np.zeros(2, int))
    venv.reset()
    with pytest.raises(ActionError):
        venv.step(np.array([0, 3]))
    with pytest.raises(RuntimeError, match="step_async"):
        venv.step_wait()
    venv.close()
    venv.close()


def test_pictures():
    venv = NFDWorldVecEnv(3, ToyWorld(), render_mode="rgb_array")
    frames = venv.reset()
    assert np.array_equal(np.stack(venv.get_images()), frames)
    assert venv.render().shape == (32, 32, 3)
    assert np.array_equal(venv.render()[:16, 16:], frames[1])


def test_wrappers_of_stable_baselines3():
    venv = VecTransposeImage(VecFrameStack(VecMonitor(NFDWorldVecEnv(2, ToyWorld())), 4))
    venv.seed(0)
    assert venv.reset().shape == (2, 12, 16, 16)
    episodes = []
    for _ in range(80):
        _, _, _, infos = venv.step(np.zeros(2, int))
        episodes += [info["episode"] for info in infos if "episode" in info]
    assert len(episodes) > 2
    assert all(0 < episode["l"] <= 40 for episode in episodes)
    assert min(episode["r"] for episode in episodes) < 0


@pytest.mark.slow
def test_ppo_trains_on_it():
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    venv = VecMonitor(NFDWorldVecEnv(8, ToyWorld(max_misses=99)))
    model = PPO("MlpPolicy", venv, n_steps=32, batch_size=64, n_epochs=2, seed=0, device="cpu")
    model.learn(512)
    assert model.num_timesteps == 512
    assert len(model.ep_info_buffer) == 8 * (512 // 8 // 40)
