"""The data set of a world is found by its name, its recordings', or their preset's."""

from __future__ import annotations

from pathlib import Path

import pytest

from world_model.data.locating import find_dataset
from world_model.data.metadata import INFO_PATH
from world_model.errors import DataError
from world_model.world_config import WorldConfig

NAMED = WorldConfig("second", source={"name": "recorded", "preset": "pong"})


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(name: str, *, finished: bool = True) -> Path:
    folder = Path("data") / name
    folder.mkdir(parents=True)
    if finished:
        (folder / INFO_PATH).parent.mkdir()
        (folder / INFO_PATH).touch()
    return folder


def test_the_nearest_name_that_is_there():
    for name in ("pong", "recorded", "second"):  # each goes before those made earlier
        made = make(name)
        assert find_dataset(NAMED) == made
    assert find_dataset(WorldConfig("pong")) == Path("data/pong")
    assert find_dataset(NAMED, Path("elsewhere")) == Path("elsewhere")


def test_an_unfinished_recording_is_taken_last():
    make("second", finished=False)
    assert find_dataset(NAMED) == Path("data/second")
    make("pong")
    assert find_dataset(NAMED) == Path("data/pong")


def test_what_was_looked_for_is_said():
    with pytest.raises(DataError, match=r"no folder data/second or data/recorded or data/pong"):
        find_dataset(NAMED)
    with pytest.raises(DataError, match=r"no folder data/pong here. Name its folder with --data"):
        find_dataset(WorldConfig("pong", source={"preset": "pong"}))
