"""Worlds are found by name, version or folder; who asks for another is told what there is."""

from __future__ import annotations

import json

import pytest

from tests.world_model.tiny import tiny_world
from world_model import registry
from world_model.errors import WorldFormatError, WorldNotFoundError
from world_model.registry import bundled_worlds, find_world
from world_model.world import World


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Bundled worlds: swamp in three versions, and a desert."""
    root = tmp_path / "worlds"
    worlds = [("swamp", 1), ("swamp", 2), ("swamp", 10), ("desert", 1)]
    for name, version in worlds:
        folder = root / f"{name}-{version}"
        folder.mkdir(parents=True)
        config = {"world": {"name": name, "version": version}}
        (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(registry, "BUNDLED_WORLDS", root)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def test_a_name_means_the_newest_version(shelf):
    assert find_world("swamp") == shelf / "swamp-10"
    assert bundled_worlds() == {"desert": shelf / "desert-1", "swamp": shelf / "swamp-10"}


@pytest.mark.parametrize("version", [1, 2, 10])
def test_a_name_with_a_version_means_that_one(shelf, version):
    assert find_world(f"swamp@{version}") == shelf / f"swamp-{version}"


def test_a_version_that_is_not_there(shelf):
    with pytest.raises(WorldNotFoundError, match=r"'3' of the world 'swamp'.*swamp@2, swamp@10"):
        find_world("swamp@3")


@pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["str", "Path"])
def test_a_folder(shelf, tmp_path, as_path):
    folder = tmp_path / "runs" / "world"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert find_world(as_path(folder)) == folder


def test_a_folder_without_a_config(shelf, tmp_path):
    with pytest.raises(WorldNotFoundError, match=r"holds no world.*no config.json"):
        find_world(tmp_path)


@pytest.mark.parametrize("name", ["swmap", "swamp ", "swamps@1"])
def test_a_misspelt_name_is_put_right(shelf, name):
    with pytest.raises(WorldNotFoundError, match=r"Did you mean 'swamp'\?"):
        find_world(name)


def test_an_unknown_name_lists_what_there_is(shelf):
    with pytest.raises(WorldNotFoundError, match=r"'zzz'.*\(desert, swamp\)") as caught:
        find_world("zzz")
    assert "Did you mean" not in str(caught.value)


def test_no_bundled_worlds_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "BUNDLED_WORLDS", tmp_path / "none")
    with pytest.raises(WorldNotFoundError, match=r"a bundled one \(none\)"):
        find_world("zzz")


def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_download", lambda name: pytest.fail("asked the hub"))
    (tmp_path / "elsewhere" / "runs").mkdir()
    for name in (tmp_path / "runs" / "none", "runs/none", "../none"):
        with pytest.raises(WorldNotFoundError, match="there is no world"):
            find_world(name)


def test_a_repository_on_the_hub(shelf, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository, **options):
        asked.append(repository)
        assert not any(
            "pkl" in pattern or "bin" in pattern for pattern in options["allow_patterns"]
        )
        return str(shelf / "desert-1")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_world("someone/desert") == shelf / "desert-1"
    assert asked == ["someone/desert"]

    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: str(empty))
    with pytest.raises(WorldNotFoundError, match="'someone/else' on the Hugging Face Hub holds no"):
        find_world("someone/else")

    def fail(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(WorldNotFoundError, match="no network"):
        find_world("someone/else")


def test_one_damaged_world_does_not_hide_the_others(shelf):
    (shelf / "ruin").mkdir()
    (shelf / "ruin" / "config.json").write_text('{"world": ')
    assert find_world("swamp") == shelf / "swamp-10"
    with pytest.raises(WorldFormatError, match="is not the config of a world"):
        World.from_pretrained("ruin")


def test_a_bundled_world_loads_by_name(tmp_path, monkeypatch):
    tiny_world().save_pretrained(tmp_path / "worlds" / "tiny")
    monkeypatch.setattr(registry, "BUNDLED_WORLDS", tmp_path / "worlds")
    assert World.from_pretrained("tiny@1").config.name == "tiny"


def test_the_worlds_that_come_with_the_package_load():
    for name in bundled_worlds():
        assert World.from_pretrained(name).model_id.startswith(f"{name}@")
