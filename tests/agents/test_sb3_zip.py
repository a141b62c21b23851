"""SB3's archives are read without running what is in them."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from agents.collecting.choice import Choice
from agents.sb3_zip import load_zip, zip_id
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError

SHAPE = (36, 40, 3)


class Noise(gym.Env):
    """Frames of noise."""

    observation_space = spaces.Box(0, 255, SHAPE, np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._frame(), {}

    def step(self, action):
        return self._frame(), 0.0, False, False, {}

    def _frame(self):
        return self.np_random.integers(256, size=SHAPE, dtype=np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    envs = VecFrameStack(DummyVecEnv([Noise]), 2)
    settings = {"features_extractor_kwargs": {"features_dim": 16}}
    model = PPO("CnnPolicy", envs, n_steps=4, batch_size=4, policy_kwargs=settings, seed=0)
    weight = model.policy.action_net.weight
    weight.data *= 300  # SB3 starts with nearly equal probabilities: make the choice matter
    path = tmp_path_factory.mktemp("sb3") / "agent.zip"
    model.save(path)
    return path, model


SPEC = ActionSpec.from_space(Noise.action_space)


def test_it_plays_as_it_did(saved):
    path, model = saved
    policy = load_zip(path, SPEC, SHAPE)
    rng = np.random.default_rng(0)
    state = policy.begin([0])
    stack = np.zeros((1, *SHAPE[:2], 6), np.uint8)
    played, expected = [], []
    for _ in range(12):
        frame = rng.integers(256, size=SHAPE, dtype=np.uint8)
        stack = np.concatenate([stack[..., 3:], frame[None]], -1)
        played.append(int(policy.act(frame[None], state)[0]))
        expected.append(int(model.predict(stack, deterministic=True)[0][0]))
    assert played == expected
    assert len(set(played)) > 1


def test_it_can_record(saved):
    path, _ = saved
    choice = Choice((str(path),), SPEC, SHAPE)
    assert choice.identify() == {str(path): zip_id(path)}
    players = [choice(np.random.default_rng(7)) for _ in range(2)]
    frame = np.zeros(SHAPE, np.uint8)
    first, again = ([int(p.act(frame, {})) for _ in range(8)] for p in players)
    assert first == again
    assert players[0].name.startswith("agent-0.")


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_no_pickle_is_read(saved, tmp_path):
    path, _ = saved
    evil, trace = tmp_path / "evil.zip", tmp_path / "trace"
    code = base64.b64encode(cloudpickle.dumps(Bomb(trace))).decode()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                data = json.loads(content)
                data["policy_class"] = {":type:": "x", ":serialized:": code}
                content = json.dumps(data).encode()
            new.writestr(name, content)
    load_zip(evil, SPEC, SHAPE)
    assert not trace.exists()
    cloudpickle.loads(base64.b64decode(code))
    assert trace.exists(), "the bomb is none, so this test shows nothing"
    # A pickle in the place of the weights.
    with zipfile.ZipFile(evil, "w") as new:
        new.writestr("policy.pth", cloudpickle.dumps(Bomb(tmp_path / "other")))
    with pytest.raises(CheckpointError, match=r"evil\.zip is no archive"):
        load_zip(evil, SPEC, SHAPE)
    assert not (tmp_path / "other").exists()


def test_what_does_not_fit_is_an_error(saved, tmp_path):
    path, _ = saved
    with pytest.raises(CheckpointError, match="does not fit"):
        load_zip(path, SPEC, (64, 64, 3))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_zip(path, ActionSpec.from_space(spaces.Discrete(5)), SHAPE)
    with pytest.raises(CheckpointError, match="6 channels"):
        load_zip(path, SPEC, (36, 40, 4))
    model = DQN("CnnPolicy", Noise(), buffer_size=10)
    model.save(tmp_path / "dqn.zip")
    with pytest.raises(CheckpointError, match=r"no actor and critic.*module:function"):
        load_zip(tmp_path / "dqn.zip", SPEC, SHAPE)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(CheckpointError, match="no archive"):
        load_zip(tmp_path / "text.zip", SPEC, SHAPE)
