import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from gymnasium import spaces
from rich.console import Console

from benchmarks import exactness
from benchmarks.exactness import ExactnessOptions, Player, events, same
from benchmarks.results import check_benchmark
from nfd_env import NFDWorldEnv
from tests.world_model.tiny import tiny_world
from world_model.errors import NFDError


@pytest.mark.parametrize("mode", ["ahead", "branch"])
def test_nothing_differs(tmp_path, mode):
    options = ExactnessOptions(mode=mode, steps=150, out=tmp_path / "exact.json")
    document = exactness.run(options, Console(quiet=True), tiny_world())
    check_benchmark(json.loads(options.out.read_text()))
    results = document["results"]
    assert (results["steps"], results["different"]) == (150, 0)
    assert results["accepted"] > 50


def test_a_difference_is_found(tmp_path, monkeypatch):
    step = NFDWorldEnv.step
    calls = []

    def flawed(self, action):
        calls.append(1)
        frame, *rest = step(self, action)
        if len(calls) % 50 == 0:
            frame[0, 0, 0] ^= 1
        return (frame, *rest)

    monkeypatch.setattr(NFDWorldEnv, "step", flawed)
    options = ExactnessOptions(steps=100, out=tmp_path / "exact.json")
    document = exactness.run(options, Console(quiet=True), tiny_world())
    assert document["results"]["different"] == 4


def test_parts_add_up(tmp_path, monkeypatch):
    options = ExactnessOptions(steps=60, out=tmp_path / "exact.json")
    step, calls, played = NFDWorldEnv.step, [], []

    def interrupted(self, action):
        calls.append(1)
        if len(calls) == 51:  # of the speculative one of the two
            raise KeyboardInterrupt
        played.append(int(action))
        return step(self, action)

    monkeypatch.setattr(NFDWorldEnv, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exactness.run(options, Console(quiet=True), tiny_world())
    first = json.loads(options.out.read_text())["results"]
    assert (first["steps"], len(first["parts"])) == (25, 1)
    document = exactness.run(options, Console(quiet=True), tiny_world())
    results = document["results"]
    assert [part["steps"] for part in results["parts"]] == [25, 35]
    assert (results["steps"], results["different"]) == (60, 0)
    assert results["accepted"] == sum(part["accepted"] for part in results["parts"])
    assert played[:50:2] != played[50:100:2], "another part has random numbers of its own"
    # What is complete stays as it is.
    assert exactness.run(options, Console(quiet=True), tiny_world())["results"] == results
    other = replace(options, repeat=0.5)
    with pytest.raises(NFDError, match="the same settings"):
        exactness.run(other, Console(quiet=True), tiny_world())
    options.out.write_text("{}")
    with pytest.raises(NFDError, match="no results of this command"):
        exactness.run(options, Console(quiet=True), tiny_world())


def test_parts_run_side_by_side_are_joined(tmp_path):
    def play(name, **changes):
        options = ExactnessOptions(steps=20, out=tmp_path / name, **changes)
        return exactness.run(options, Console(quiet=True), tiny_world())["results"]

    first = play("first.json", part=3)
    play("second.json", part=5)
    play("all.json")  # part 0
    assert [part["part"] for part in first["parts"]] == [3]
    files = (tmp_path / "first.json", tmp_path / "second.json")
    joined = play("all.json", join=files)
    assert [part["part"] for part in joined["parts"]] == [0, 3, 5]
    assert (joined["steps"], joined["different"]) == (60, 0)
    assert joined["repeats"] == sum(part["repeats"] for part in joined["parts"])
    assert len({part["repeats"] for part in joined["parts"]}) > 1, "random numbers of their own"
    with pytest.raises(NFDError, match=r"first\.json: part 3 is there already"):
        play("all.json", join=files[:1])
    with pytest.raises(NFDError, match=r"nothing\.json: there is no such file"):
        play("all.json", join=(tmp_path / "nothing.json",))
    with pytest.raises(NFDError, match=r"--part 3: .*holds that part already"):
        play("all.json", part=3)
    further = ExactnessOptions(steps=65, out=tmp_path / "all.json")
    parts = exactness.run(further, Console(quiet=True), tiny_world())["results"]["parts"]
    assert [(part["part"], part["steps"]) for part in parts][-1] == (6, 5)


def test_everything_happens():
    found = list(islice(events(np.random.default_rng(0), spaces.Discrete(3), 0.7), 3000))
    assert {event for event, _ in found} == {"step", "reset", "save", "restore", "hint"}
    actions = [number for event, number in found if event == "step"]
    repeats = np.mean(np.diff(actions) == 0)
    assert repeats == pytest.approx(0.7 + 0.3 / 3, abs=0.03)
    assert {number for event, number in found if event == "restore"} == {0, 1, 2}


def test_a_player_shows_what_an_agent_sees():
    with NFDWorldEnv(tiny_world()) as env:
        player = Player(env, 0)
        assert player.do("save", 0) == ()
        assert player.do("hint", 1) == ()
        first = player.do("step", 1)
        assert len(first) == 5
        player.do("restore", 0)
        again = player.do("step", 1)
        assert same(first, again)
        assert not same(first, (first[0] + 1, *first[1:]))


def test_what_cannot_be_compared(tmp_path):
    with pytest.raises(NFDError, match="nothing to compare"):
        exactness.run(ExactnessOptions(steps=0), Console(quiet=True), tiny_world())
    with pytest.raises(NFDError, match="ahead and branch"):
        exactness.run(ExactnessOptions(mode="joint"), Console(quiet=True), tiny_world())
