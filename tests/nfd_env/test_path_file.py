"""Saved paths: written, read back, checked against the world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nfd_env.path_file import WorldPath, load_path
from tests.toy import ToyWorld
from world_model.errors import ActionError, DataError

WORLD = ToyWorld()


def walked() -> WorldPath:
    path = WorldPath(WORLD.model_id, seed=7)
    for action in (1, 1, 2, 2, 2, 0):
        path.add(np.array([action], np.float32))
    path.add(np.array([0], np.float32), sampling_steps=4)
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = walked()
    assert len(path) == 7
    assert [s.steps for s in path.actions] == [2, 3, 1, 1]
    path.save(tmp_path / "a.json")
    found = load_path(tmp_path / "a.json")
    assert found == path
    assert [(int(v[0]), n) for v, n in found.steps()][-2:] == [(0, None), (0, 4)]
    found.check(WORLD.model_id, WORLD.action_spec)


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 7, 99])
def test_cut_keeps_the_first_steps(steps: int) -> None:
    path = walked()
    kept = [(v.tolist(), n) for v, n in path.cut(steps).steps()]
    assert kept == [(v.tolist(), n) for v, n in path.steps()][:steps]
    assert len(path) == 7


def test_other_worlds_are_refused() -> None:
    with pytest.raises(DataError, match=r"leads through toy@1#0+, but this is toy@1#abc"):
        walked().check("toy@1#abc", WORLD.action_spec)
    path = walked()
    path.add(np.array([3], np.float32))
    with pytest.raises(ActionError, match="entry 4 of the path's actions"):
        path.check(WORLD.model_id, WORLD.action_spec)
    path = WorldPath(WORLD.model_id, 0)
    path.add(np.array([1, 1], np.float32))
    with pytest.raises(ActionError, match="entry 0"):
        path.check(WORLD.model_id, WORLD.action_spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "no saved path"),
        ({"version": 2}, "version 2 of the format"),
        ({"seed": -1}, "'seed' is -1"),
        ({"seed": True}, "'seed' is True"),
        ({"seed": None}, "'seed' is None"),
        ({"world": 3}, "'world' is 3"),
        ({"contexts": ["a"]}, "'contexts' is"),
        ({"actions": None}, "damaged path"),
        ({"actions": [[1]]}, "no action with its steps"),
        ({"actions": [{"action": ["1"]}]}, "no list of numbers"),
        ({"actions": [{"action": [10**400]}]}, "damaged path"),
        ({"actions": [{"action": [1], "steps": 0}]}, "'steps' is 0"),
        ({"actions": [{"action": [1], "sampling_steps": 1.5}]}, "'sampling_steps' is 1.5"),
    ],
)
def test_damage_is_told(tmp_path: Path, change: dict, message: str) -> None:
    file = tmp_path / "a.json"
    walked().save(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        load_path(file)


@pytest.mark.parametrize("text", ["", "no json", "[]", "[" * 100_000, "\udcff"])
def test_what_is_no_path_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"cannot be read|no saved path"):
        load_path(file)
    with pytest.raises(DataError, match="cannot be read"):
        load_path(tmp_path / "none.json")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"format": "nfd-path", "version": 1, "world": "w"}))
    with pytest.raises(DataError, match="'seed' is missing"):
        load_path(file)
