import json

import pytest
from rich.console import Console

from benchmarks import speculation
from benchmarks.results import check_benchmark
from benchmarks.speculation import Agent, SpeculationOptions, promised
from nfd_env import NFDWorldEnv
from tests.world_model.tiny import tiny_world, world_without_previous_frames
from world_model.errors import NFDError
from world_model.speculation.gain import joint_speed_up


def test_every_mode_and_habit_is_measured(tmp_path):
    options = SpeculationOptions(
        repeats=(0.0, 1.0), thinking=(0.0, 1.0), steps=4, rounds=2,
        out=tmp_path / "speculation.json",
    )  # fmt: skip
    document = speculation.run(options, Console(quiet=True), tiny_world())
    check_benchmark(json.loads(options.out.read_text()))
    rows = document["results"]["rows"]
    assert len(rows) == 4 * 2 * 2
    for row in rows:
        assert row["ms"] > 0
        assert row["speed_up"] == pytest.approx(1) or row["mode"] != "off"
        assert row["formula"] >= 1 or row["mode"] == "ahead"
    for row in rows:
        if row["mode"] == "ahead":
            assert row["repeat_rate"] == pytest.approx(row["repeat"], abs=0.3)
            assert 0 <= row["discarded"] <= 1 - row["acceptance"]
    accepted = {
        (row["mode"], row["repeat"]): row["acceptance"] for row in rows if row["thinking"] == 1.0
    }
    assert accepted["off", 1.0] == 0
    assert accepted["ahead", 1.0] > 0.9
    assert accepted["ahead", 0.0] < 0.1
    assert accepted["branch", 0.0] == 1
    assert (tmp_path / "speculation.png").stat().st_size > 5000
    assert speculation.table(document["results"], "tiny").row_count == 4


@pytest.mark.parametrize(("repeat", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_an_agent_keeps_its_habit(repeat, expected):
    with NFDWorldEnv(tiny_world(), speculation="ahead", endless=True) as env:
        Agent(env, repeat, 0.0, seed=0).play(120)
        assert env.speculation["repeat_rate"] == pytest.approx(expected, abs=0.12)


def test_the_formulas_promise():
    assert promised("off", 0.5, 1.0, 2.0) == 1
    assert promised("ahead", 1.0, 1.0, 2.0) == 2
    assert promised("ahead", 0.0, 0.0, 2.0) == pytest.approx(0.5)
    assert promised("auto", 0.0, 0.0, 2.0) == 1  # it switches itself off
    assert promised("joint", 0.9, 0.0, 1.0, 0.25) == pytest.approx(joint_speed_up(0.9, 4, 0.25))
    assert promised("joint", 0.9, 1.0, 2.0, 0.25) == pytest.approx(2 / (1 + 1 / 1.965), rel=1e-3)
    assert promised("joint", 0.9, 1.0, 2.0, 1.0) == 1  # on a CPU nothing is to be gained


def test_joint_is_measured_where_a_world_can_do_it(tmp_path):
    world = world_without_previous_frames()
    options = SpeculationOptions(
        modes=("off", "joint"), repeats=(1.0,), thinking=(0.0,), steps=4, rounds=1,
        out=tmp_path / "speculation.json",
    )  # fmt: skip
    rows = speculation.run(options, Console(quiet=True), world)["results"]["rows"]
    assert [(row["mode"], row["formula"]) for row in rows] == [("off", 1), ("joint", 1)]


def test_there_must_be_something_to_compare_with(tmp_path):
    options = SpeculationOptions(modes=("ahead",), out=tmp_path / "x.json")
    with pytest.raises(NFDError, match="off"):
        speculation.run(options, Console(quiet=True), tiny_world())
