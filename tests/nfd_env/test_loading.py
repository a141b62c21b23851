from __future__ import annotations

import gc
import os
import sys
from types import ModuleType, SimpleNamespace

import gymnasium as gym
import pytest
import torch

import nfd_env  # noqa: F401  (registers the environment)
from nfd_env.loading import load_object, load_rollout, load_world, resolve_device
from tests.toy import ToyRollout, ToyWorld
from tests.world_model.tiny import tiny_world
from world_model.errors import ConfigError, NFDError


@pytest.fixture
def loads(monkeypatch):
    """Stands in for ``World``: counts what is read from the disk."""
    loads = []

    class World:
        @classmethod
        def from_pretrained(cls, name):
            loads.append(name)
            return cls()

        def to(self, device):
            self.device = device
            return self

    module = ModuleType("world_model.world")
    module.World = World
    monkeypatch.setitem(sys.modules, "world_model.world", module)
    return loads


def test_environments_share_a_world_while_one_uses_it(loads):
    one, two = load_world("some-world", "cpu"), load_world("some-world", "cpu")
    assert one is two
    assert loads == ["some-world"]
    del one, two
    gc.collect()
    load_world("some-world", "cpu")
    assert len(loads) == 2


def test_a_folder_written_anew_is_read_anew(loads, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    one = load_world(str(tmp_path))
    assert load_world(str(tmp_path)) is one
    os.utime(tmp_path / "config.json", ns=(1, 2**60))
    assert load_world(str(tmp_path)) is not one


def test_settings_that_are_not_given_keep_the_worlds_own(monkeypatch):
    asked = {}
    world = SimpleNamespace(make_rollout=lambda **settings: asked.update(settings))
    load_rollout(world, "cpu", sampling_steps=2, sampler=None, reward_mode=None)
    assert asked == {"device": "cpu", "sampling_steps": 2}


def test_worlds_by_code_object_and_rollout():
    world, rollout = load_rollout("tests.toy:ToyWorld")
    assert isinstance(world, ToyWorld)
    assert isinstance(rollout, ToyRollout)
    assert load_rollout(rollout) == (world, rollout)


def test_a_fork_that_would_hang_is_refused(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    load_rollout("tests.toy:ToyWorld")
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(NFDError, match="forkserver"):
        load_rollout("tests.toy:ToyWorld")
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    load_rollout("tests.toy:ToyWorld")


def test_devices():
    assert resolve_device("auto") in ("cpu", "cuda")
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(NFDError, match="warp"):
        resolve_device("warp")


@pytest.mark.parametrize("name", ["no.such.module:f", "tests.toy:nothing", "tests.toy:CELLS", ":f"])
def test_names_that_are_no_callable(name):
    with pytest.raises(NFDError):
        load_object(name)


def test_the_teacher_imagines_where_asked_for(tmp_path):
    world = tiny_world()
    world.teacher = tiny_world(seed=3).as_teacher()
    folder = str(world.save_pretrained(tmp_path / "world"))
    many, rollout = load_rollout(folder, "cpu", teacher=True)
    first = next(many.network.parameters())
    assert torch.equal(first, next(world.teacher.network.parameters()))
    assert rollout.world is many
    env = gym.make("NFD-World-v0", world=folder, teacher=True)
    env.reset(seed=0)
    assert env.step(1)[0].shape == world.config.frame_shape
    with pytest.raises(ConfigError, match="keeps no teacher"):
        load_rollout(tiny_world(), "cpu", teacher=True)
    with pytest.raises(ValueError, match="teacher"):
        load_rollout(rollout, teacher=True)
    with pytest.raises(ConfigError, match="has no teacher"):
        load_rollout("tests.toy:ToyWorld", teacher=True)
