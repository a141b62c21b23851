from __future__ import annotations

import pytest
import torch

from benchmarks.opening import open_world
from tests.world_model.tiny import tiny_world
from world_model.errors import ConfigError, WorldNotFoundError


def test_a_teacher_is_a_world_of_its_own(tmp_path):
    world = tiny_world()
    world.teacher = tiny_world(seed=3).as_teacher()
    folder = str(world.save_pretrained(tmp_path / "world"))
    teacher, student = open_world(f"teacher:{folder}", "cpu"), open_world(folder, "cpu")
    ours, theirs = (next(w.network.parameters()) for w in (teacher, world.teacher))
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, next(student.network.parameters()))
    assert teacher.config.name == f"teacher-{student.config.name}"
    assert teacher.config.sampling_steps == world.teacher.config.sampling_steps


def test_what_is_not_there_says_so(tmp_path):
    folder = str(tiny_world().save_pretrained(tmp_path / "world"))
    with pytest.raises(ConfigError, match="keeps no teacher"):
        open_world(f"teacher:{folder}", "cpu")
    with pytest.raises(WorldNotFoundError):
        open_world("teacher:nowhere", "cpu")
