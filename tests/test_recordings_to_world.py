"""The way of somebody else's recordings: imported, a world trained on them, the world played."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import nfd_env  # noqa: F401  (registers the environment)
from nfd_env.cli.main import main as nfd
from tests.world_model.data.importing.recorder import vpt_segment
from tests.world_model.training.test_minecraft import QUICK
from world_model.minecraft.minerl import minerl_spec
from world_model.world import World


@pytest.mark.slow
def test_vpt_recordings_become_a_world_that_is_played(tmp_path):
    for i in range(6):
        vpt_segment(tmp_path / f"in/8.0/r{i}", 25)
    data, run = tmp_path / "vpt", tmp_path / "run"
    settings = ["--size", "16", "16", "--max-steps", "12", "--processes", "1"]
    assert nfd(["import", "vpt", str(tmp_path / "in"), "--out", str(data), *settings]) == 0
    assert nfd(["train", "tiny", "--data", str(data), "--out", str(run), *QUICK]) == 0
    assert World.from_pretrained(run / "world").action_spec == minerl_spec()
    with gym.make("NFD-World-v0", world=str(run / "world"), action_mode="discrete") as env:
        assert isinstance(env.action_space, spaces.Discrete)
        first, _ = env.reset(seed=0)
        for action in (1, 22):
            observation, reward, *_ = env.step(action)
        assert observation.shape == (16, 16, 3)
        assert not np.array_equal(observation, first)
        assert reward == pytest.approx(0, abs=1)
