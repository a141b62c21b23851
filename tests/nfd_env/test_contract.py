"""What holds for every world: the analytic toy, and a real rollout with random weights."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from nfd_env.env import NFDWorldEnv
from nfd_env.sb3_vec_env import NFDWorldVecEnv
from nfd_env.vector_env import NFDWorldVectorEnv
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world
from world_model.errors import WorldFormatError, WorldNotFoundError

WORLDS = {
    "toy": (ToyWorld, {}),
    "one step": (tiny_world, {"sampling_steps": 1}),
    "three steps": (tiny_world, {"sampling_steps": 3, "reward_mode": "sample"}),
    "no outcome": (lambda: tiny_world(outcome=False), {"sampling_steps": 1}),
}


@pytest.fixture(params=WORLDS)
def world(request):
    make, settings = WORLDS[request.param]
    return {"world": make(), **settings}


def actions(steps, streams, seed=0):
    return np.random.default_rng(seed).integers(3, size=(steps, streams))


def roll(envs, steps):
    """Frames, rewards, ends of every step."""
    return [envs.step(action)[:4] for action in actions(steps, envs.num_envs)]


def same(one, two):
    return all(
        np.array_equal(x, y)
        for a, b in zip(one, two, strict=True)
        for x, y in zip(a, b, strict=True)
    )


def test_passes_gymnasiums_checker(world):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")
        check_env(NFDWorldEnv(**world, render_mode="rgb_array"))


@pytest.mark.parametrize("steps", [1, 2])
def test_is_made_by_id_from_strings(steps):
    settings = {"world": "tests.world_model.tiny:tiny_world", "sampling_steps": steps}
    env = gym.make("NFD-World-v0", **settings)
    env.reset(seed=0)
    assert env.unwrapped.core.rollout.sampling_steps == steps
    assert gym.make(env.spec).unwrapped.core.rollout.sampling_steps == steps
    envs = gym.make_vec("NFD-World-v0", num_envs=2, **settings)
    envs.reset(seed=0)
    assert envs.core.rollout.sampling_steps == steps


def test_a_saved_world_is_made_by_its_folder(tmp_path):
    world = tiny_world()
    folder = str(world.save_pretrained(tmp_path / "my-world"))
    envs = [gym.make("NFD-World-v0", world=folder, endless=True) for _ in range(2)]
    assert envs[0].unwrapped.world is envs[1].unwrapped.world
    assert envs[0].unwrapped.model_id == world.model_id
    direct = NFDWorldEnv(world, endless=True)
    for env in envs:
        assert np.array_equal(env.reset(seed=1)[0], direct.reset(seed=1)[0])
        for action in (0, 1, 2):
            assert np.array_equal(env.step(action)[0], direct.step(action)[0])
    # Saved anew, it is another world, also for environments that are made from now on.
    other = tiny_world(seed=1)
    other.save_pretrained(folder)
    assert gym.make("NFD-World-v0", world=folder).unwrapped.model_id == other.model_id


def test_worlds_that_cannot_be_loaded_say_so(tmp_path):
    with pytest.raises(WorldNotFoundError, match="no-such-world"):
        gym.make("NFD-World-v0", world="no-such-world")
    with pytest.raises(WorldNotFoundError, match="no-such-world"):
        gym.make_vec("NFD-World-v0", num_envs=2, world="no-such-world")
    folder = tiny_world().save_pretrained(tmp_path / "world")
    (folder / "network.safetensors").write_bytes(b"damaged")
    with pytest.raises(WorldFormatError, match=r"network\.safetensors"):
        gym.make("NFD-World-v0", world=str(folder))


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "no-such"},
        {"reward_mode": "no-such"},
        {"termination_mode": "no-such"},
        {"precision": "no-such"},
    ],
)
def test_unknown_settings_are_refused(settings):
    with pytest.raises(ValueError, match="no-such"):
        gym.make("NFD-World-v0", world="tests.world_model.tiny:tiny_world", **settings)


def test_a_seed_and_its_actions_give_the_same_episodes(world):
    envs = [NFDWorldVectorEnv(3, **world, autoreset_mode="same_step") for _ in range(2)]
    envs[1].reset(seed=5)
    roll(envs[1], 3)
    for env in envs:
        env.reset(seed=9)
    assert same(roll(envs[0], 25), roll(envs[1], 25))


def test_faces_agree(world):
    settings = {**world, "max_episode_steps": 7}
    vector = NFDWorldVectorEnv(3, **settings, autoreset_mode="same_step")
    vec = NFDWorldVecEnv(3, **settings)
    vec.seed(4)
    assert np.array_equal(vector.reset(seed=4)[0], vec.reset())
    ends = 0
    for action in actions(20, 3):
        frames, rewards, terminated, truncated, info = vector.step(action)
        vec_frames, vec_rewards, dones, infos = vec.step(action)
        assert np.array_equal(frames, vec_frames)
        assert np.array_equal(rewards.astype(np.float32), vec_rewards)
        assert np.array_equal(terminated | truncated, dones)
        for i in np.flatnonzero(dones):
            assert np.array_equal(info["final_obs"][i], infos[i]["terminal_observation"])
            ends += 1
    assert ends >= 6


def test_a_stream_looks_like_a_single_environment(world):
    """The same start and noise bits; frames within 1 / 255, as other shapes round differently.

    Each step begins at the same state: random weights double every difference with each frame,
    which trained ones do not, see ``test_bundled_worlds.py``.
    """
    settings = {**world, "endless": True}
    envs = NFDWorldVectorEnv(4, **settings)
    frames, _ = envs.reset(seed=20)
    single = NFDWorldEnv(**settings)
    for i in range(4):
        assert np.array_equal(single.reset(seed=20 + i)[0], frames[i])
    for action in actions(12, 4):
        snapshot = envs.save_state()
        frames, rewards, *_ = envs.step(action)
        for i in range(4):
            single.restore_state(snapshot.select([i]))
            frame, reward, *_ = single.step(action[i])
            assert np.abs(frame.astype(int) - frames[i]).max() <= 1
            assert reward == pytest.approx(rewards[i], abs=1e-4)


def test_streams_do_not_touch_each_other(world):
    """Resetting or restoring one stream leaves the others' frames as they are, bit for bit."""
    settings = {**world, "endless": True}
    calm, busy = (NFDWorldVectorEnv(3, **settings) for _ in range(2))
    for envs in (calm, busy):
        envs.reset(seed=1)
    snapshot = busy.save_state([2])
    for step, action in enumerate(actions(12, 3)):
        expected, got = calm.step(action), busy.step(action)
        alike = [0, 2] if step <= 6 else [0]
        assert np.array_equal(expected[0][alike], got[0][alike])
        assert np.array_equal(expected[1][alike], got[1][alike])
        busy.reset(options={"reset_mask": np.array([False, True, False])})
        if step == 6:
            busy.restore_state(snapshot, [2])


def test_a_snapshot_repeats_the_future(world):
    envs = NFDWorldVectorEnv(3, **world)
    envs.reset(seed=2)
    roll(envs, 5)
    snapshot = envs.save_state()
    expected = roll(envs, 20)
    other = NFDWorldVectorEnv(3, **world)
    for target in (envs, other):
        target.restore_state(snapshot)
        assert same(roll(target, 20), expected)


def test_actions_and_seeds_matter(world):
    settings = {**world, "endless": True}
    envs = NFDWorldVectorEnv(3, **settings)
    envs.reset(seed=0)
    snapshot = envs.save_state([0])
    envs.restore_state(snapshot)
    for _ in range(3):
        frames, *_ = envs.step(np.arange(3))
    assert len({frame.tobytes() for frame in frames}) > 1
    envs.restore_state(snapshot, seeds=[5, 6, 7])
    for _ in range(12):
        frames, *_ = envs.step(np.zeros(3, int))
    assert len({frame.tobytes() for frame in frames}) > 1


def test_given_frames_of_any_length_start_an_episode(world):
    env = NFDWorldEnv(**world)
    clip = env.world.contexts.pick([0])
    frames, taken = clip.frames[0].numpy(), clip.actions[0, 1:, 0].numpy().astype(int)
    longer = np.concatenate([frames] * 5)
    for given, between in (
        (frames, taken),
        (frames[-1:], None),
        (frames[-1], []),
        (longer, np.zeros(len(longer) - 1, int)),
    ):
        frame, _ = env.reset(seed=0, options={"frames": given, "actions": between})
        assert np.array_equal(frame, frames[-1])
        frame, reward, *_ = env.step(0)
        assert frame.dtype == np.uint8
        assert np.isfinite(reward)


def test_an_endless_episode_does_not_grow(world):
    env = NFDWorldEnv(**world, endless=True)
    env.reset(seed=0)
    sizes = set()
    for _ in range(60):
        *_, terminated, truncated, info = env.step(1)
        assert not terminated
        assert not truncated
        if hasattr(env.core.state, "num_bytes"):
            sizes.add(env.core.state.num_bytes())
    assert len(sizes) <= 1
    assert info["imagined_steps"] == 60


def test_environments_share_a_world_and_nothing_else(world):
    one, two = NFDWorldEnv(**world, endless=True), NFDWorldEnv(**world, endless=True)
    frames = []
    one.reset(seed=3)
    for action in (0, 1, 2, 1):
        frames.append(one.step(action)[0])
    one.reset(seed=3)
    two.reset(seed=8)
    for action, expected in zip((0, 1, 2, 1), frames, strict=True):
        two.step(2)
        assert np.array_equal(one.step(action)[0], expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_imagines_what_a_cpu_does():
    envs = [
        NFDWorldVectorEnv(4, tiny_world(), device=device, endless=True)
        for device in ("cpu", "cuda", "cuda")
    ]
    frames = [env.reset(seed=0)[0] for env in envs]
    for action in actions(4, 4):
        assert np.abs(frames[0].astype(int) - frames[1]).max() <= 1
        assert np.array_equal(frames[1], frames[2])
        frames = [env.step(action)[0] for env in envs]
    snapshot = envs[1].save_state()
    assert all(tensor.device.type == "cpu" for tensor in snapshot.state.tensors())
    expected = roll(envs[1], 15)
    for target in (envs[1], envs[2]):
        target.restore_state(snapshot)
        assert same(roll(target, 15), expected)
    envs[0].restore_state(snapshot)
    assert np.isfinite(envs[0].step(np.zeros(4, int))[1]).all()
