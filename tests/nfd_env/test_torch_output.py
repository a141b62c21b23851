"""A vector environment whose frames never leave the device of its world."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from nfd_env import NFDWorldVectorEnv
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world

WORLDS = {"toy": ToyWorld, "tiny": tiny_world}


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_tensors_hold_what_arrays_do(name, mode):
    settings = {"world": WORLDS[name](), "autoreset_mode": mode, "max_episode_steps": 7}
    plain = NFDWorldVectorEnv(3, **settings)
    ours = NFDWorldVectorEnv(3, output="torch", **settings)
    expected, _ = plain.reset(seed=4)
    seen, _ = ours.reset(seed=4)
    assert torch.is_tensor(seen)
    assert np.array_equal(seen.numpy(), expected)
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(30):
        actions = rng.integers(3, size=3)
        *expected, infos = plain.step(actions)
        *seen, our_infos = ours.step(torch.from_numpy(actions))
        kinds = (torch.uint8, torch.float32, torch.bool, torch.bool)
        for tensor, array, kind in zip(seen, expected, kinds, strict=True):
            assert tensor.dtype == kind
            assert np.allclose(tensor.numpy(), array)
        ended += int((expected[2] | expected[3]).sum())
        assert infos.keys() == our_infos.keys()
        if "final_obs" in infos:
            for i in np.flatnonzero(infos["_final_obs"]):
                assert np.array_equal(our_infos["final_obs"][i].numpy(), infos["final_obs"][i])
    assert ended > 3
    snapshot = ours.save_state()
    assert torch.equal(ours.restore_state(snapshot), ours.core.frames)


def test_what_was_handed_out_is_not_written_to():
    envs = NFDWorldVectorEnv(2, ToyWorld(), output="torch", max_episode_steps=3)
    kept = [envs.reset(seed=0)[0]]
    copies = [kept[0].clone()]
    for _ in range(8):
        kept.append(envs.step(np.array([1, 2]))[0])
        copies.append(kept[-1].clone())
    kept[-1].fill_(0)  # and ours is ours
    assert envs.core.frames.any()
    assert all(torch.equal(a, b) for a, b in zip(kept[:-1], copies[:-1], strict=True))


def test_by_its_id_and_by_no_other_name():
    settings = {"world": "tests.world_model.tiny:tiny_world"}
    envs = gym.make_vec("NFD-World-v0", num_envs=2, output="torch", **settings)
    assert torch.is_tensor(envs.reset(seed=0)[0])
    envs.close()
    with pytest.raises(ValueError, match="output='jax'"):
        NFDWorldVectorEnv(2, ToyWorld(), output="jax")
