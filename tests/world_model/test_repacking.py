"""A repacked world is the same world in fewer bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tests.world_model.disk import full_disk
from tests.world_model.tiny import tiny_world
from world_model.errors import ConfigError, StorageError, WorldFormatError
from world_model.repacking import TEACHER, repack_teacher
from world_model.world import World


@pytest.fixture
def saved(tmp_path):
    return replace(tiny_world(seed=7), teacher=tiny_world().as_teacher()).save_pretrained(
        tmp_path / "world", dtype=torch.float16
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_but_the_teacher_stays_and_the_id_with_it(saved):
    before, files = World.from_pretrained(saved), contents(saved)
    won = repack_teacher(saved)
    after, now = World.from_pretrained(saved), contents(saved)
    assert after.model_id == before.model_id
    assert {name for name in files if files[name] != now[name]} == {TEACHER, "config.json"}
    assert won == len(files[TEACHER]) - len(now[TEACHER]) > 0
    kept, was = after.teacher.network.state_dict(), before.teacher.network.state_dict()
    for name, tensor in kept.items():
        step = was[name].abs().max() / 254
        assert (tensor - was[name]).abs().max() <= 1.05 * step, name
    assert torch.equal(after.network.embed.weight, before.network.embed.weight)


def test_who_saves_it_anew_has_another_world(saved, tmp_path):
    before = World.from_pretrained(saved).model_id
    repack_teacher(saved)
    other = World.from_pretrained(World.from_pretrained(saved).save_pretrained(tmp_path / "new"))
    assert other.model_id != before, "its teacher is another one now"


def test_a_repacked_file_is_verified(saved):
    repack_teacher(saved)
    damaged = bytearray((saved / TEACHER).read_bytes())
    damaged[-1] ^= 1
    (saved / TEACHER).write_bytes(damaged)
    with pytest.raises(WorldFormatError, match=r"teacher\.safetensors is damaged"):
        World.from_pretrained(saved)


def test_nothing_to_repack(saved, tmp_path):
    repack_teacher(saved)
    with pytest.raises(ConfigError, match="has a repacked teacher already"):
        repack_teacher(saved)
    plain = tiny_world().save_pretrained(tmp_path / "plain")
    with pytest.raises(ConfigError, match="keeps no teacher"):
        repack_teacher(plain)


def test_a_config_that_was_edited_is_refused(saved):
    data = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(data))
    files = contents(saved)
    with pytest.raises(ConfigError, match="edited by hand"):
        repack_teacher(saved)
    assert contents(saved) == files


def test_a_full_disk_loses_nothing(saved):
    files = contents(saved)
    with full_disk(), pytest.raises(StorageError):
        repack_teacher(saved)
    assert contents(saved) == files
