"""A repacked world is the same world in fewer bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.world_model.disk import full_disk
from tests.world_model.tiny import tiny_world
from world_model.contexts import ContextSet
from world_model.data import images
from world_model.errors import ConfigError, StorageError, WorldFormatError
from world_model.repacking import repack
from world_model.world import World

TEACHER = "teacher.safetensors"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A world whose clips are PNG and whose teacher has 16 bits, as they used to be."""
    with monkeypatch.context() as patch:
        patch.setattr(images, "encode_webp", images.encode_png)
        world = replace(tiny_world(seed=7), teacher=tiny_world().as_teacher())
        rows = np.arange(16, dtype=np.uint8)[:, None, None]
        frames = np.broadcast_to(rows, world.contexts.frames.shape)  # of noise no file is smaller
        world.contexts = ContextSet(frames.copy(), world.contexts.actions)
        return world.save_pretrained(tmp_path / "world", dtype=torch.float16)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_repacked_world_imagines_the_same_under_the_same_name(saved):
    before, files = World.from_pretrained(saved), contents(saved)
    won = repack(saved)
    after, now = World.from_pretrained(saved), contents(saved)
    assert after.model_id == before.model_id
    changed = {name for name in files if files[name] != now[name]}
    assert changed == {TEACHER, "contexts.parquet", "config.json"}
    assert set(now) == set(files)
    assert won == sum(len(files[n]) - len(now[n]) for n in changed - {"config.json"}) > 0
    assert np.array_equal(after.contexts.frames, before.contexts.frames)
    assert np.array_equal(after.contexts.actions, before.contexts.actions, equal_nan=True)
    assert torch.equal(after.network.embed.weight, before.network.embed.weight)
    kept, was = after.teacher.network.state_dict(), before.teacher.network.state_dict()
    for name, tensor in kept.items():
        step = was[name].abs().max() / 254
        assert (tensor - was[name]).abs().max() <= 1.05 * step, name


def test_repacking_twice_gains_nothing_more(saved):
    repack(saved)
    files = contents(saved)
    assert repack(saved) == 0
    assert contents(saved) == files


def test_who_saves_it_anew_has_another_world(saved, tmp_path):
    before = World.from_pretrained(saved).model_id
    repack(saved)
    other = World.from_pretrained(World.from_pretrained(saved).save_pretrained(tmp_path / "new"))
    assert other.model_id != before, "its teacher is another one now"


@pytest.mark.parametrize("name", [TEACHER, "contexts.parquet"])
def test_a_repacked_file_is_verified(saved, name):
    repack(saved)
    damaged = bytearray((saved / name).read_bytes())
    damaged[-1] ^= 1
    (saved / name).write_bytes(damaged)
    with pytest.raises(WorldFormatError, match=f"{name} is damaged"):
        World.from_pretrained(saved)


def test_a_config_that_was_edited_is_refused(saved):
    data = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(data))
    files = contents(saved)
    with pytest.raises(ConfigError, match="edited by hand"):
        repack(saved)
    assert contents(saved) == files


def test_a_full_disk_loses_nothing(saved):
    files = contents(saved)
    with full_disk(), pytest.raises(StorageError):
        repack(saved)
    assert contents(saved) == files
