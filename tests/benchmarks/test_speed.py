import json

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import speed, start_up
from benchmarks.results import check_benchmark
from benchmarks.speed import Configuration, SpeedOptions, Stepper, summary
from benchmarks.time_parts import PARTS, time_parts
from nfd_env import core as core_module
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world
from world_model import rollout as rollout_module


def test_every_configuration_is_measured(tmp_path):
    threads = torch.get_num_threads()
    options = SpeedOptions(
        streams=(1, 3), steps=(1, 2), thread_counts=(1,), seconds=0.06, rounds=2, start_up=False,
        out=tmp_path / "speed.json",
    )  # fmt: skip
    document = speed.run(options, Console(quiet=True), tiny_world())
    check_benchmark(json.loads(options.out.read_text()))
    rows = document["results"]["configurations"]
    assert [(r["streams"], r["sampling_steps"]) for r in rows] == [(1, 1), (1, 2), (3, 1), (3, 2)]
    for row in rows:
        time = row["ms_per_step"]
        assert 0 < time["low"] <= time["estimate"] <= time["high"]
        assert row["ms_p99"] >= row["ms_p95"] >= time["estimate"]
        parts = row["parts_ms"]
        assert set(parts) == {*PARTS, "python"}
        assert all(value > 0 for value in parts.values())
        assert len(row["passes_ms"]) == row["sampling_steps"]
        assert all(value > 0 for value in row["passes_ms"])
    assert (tmp_path / "speed.png").stat().st_size > 5000
    assert rows[1]["speed_up"] == pytest.approx(1, abs=0.05), "one stream at the world's own steps"
    table = speed.table(document["results"], "tiny")
    assert table.row_count == 4
    assert len(table.columns) == 9 + len(PARTS) + 2
    assert torch.get_num_threads() == threads


def test_number_formats_are_told_apart(tmp_path):
    options = SpeedOptions(
        streams=(1,), steps=(1,), thread_counts=(1,), precisions=("float32", "bfloat16"),
        seconds=0.02, rounds=1, start_up=False, out=tmp_path / "speed.json",
    )  # fmt: skip
    document = speed.run(options, Console(quiet=True), tiny_world())
    rows = document["results"]["configurations"]
    assert [row["precision"] for row in rows] == ["float32", "bfloat16"]
    for way in ("float32", "bfloat16"):
        stepper = Stepper(tiny_world(), Configuration(1, 1, 1, precision=way), "cpu", 0)
        network = stepper.env.unwrapped.core.rollout.rollout.network
        assert network.embed.weight.dtype == getattr(torch, way)


def test_summary_by_hand():
    figures = summary([0.010, 0.020, 0.030], streams=4, base=[0.040])
    assert figures["ms_per_step"]["estimate"] == 20
    assert figures["frames_per_second"] == 200
    assert figures["speed_up"] == pytest.approx(8)
    assert figures["measured_steps"] == 3


def test_interval_of_the_median_covers_it():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = (summary(list(rng.exponential(1, 60)), 1, [1.0])["ms_per_step"][k]
                     for k in ("low", "high"))  # fmt: skip
        hits += low <= 1e3 * np.log(2) <= high
    assert 0.9 <= hits / 200 <= 1


def test_stopwatches_leave_no_trace():
    world = tiny_world()
    stepper = Stepper(world, Configuration(1, 2, 1), "cpu", seed=0)
    core = stepper.env.unwrapped.core

    def traces():
        owners = (world.network, type(world.network), world.outcome, rollout_module, core.adapter,
                  core_module)  # fmt: skip
        return [dict(vars(owner)) for owner in owners]

    stepper.run(0, at_least=1)  # what is kept from the first step on is no trace
    before = traces()
    with time_parts(core.rollout, core=core) as watches:
        assert all(now != then for now, then in zip(traces()[1:], before[1:], strict=True))
        stepper.run(0, at_least=2)
    assert traces() == before
    assert all(watches.seconds[name] > 0 for name in PARTS)
    assert len(watches.passes) == 2 * 2
    by_hand = [sorted(1e3 * s for s in watches.passes[i::2]) for i in range(2)]
    assert watches.per_pass(2) == [pytest.approx(sum(pair) / 2) for pair in by_hand]


def test_the_network_is_timed_in_any_precision():
    world = tiny_world()
    rollout = rollout_module.Rollout(world, precision="bfloat16")
    state = rollout.begin(world.contexts.pick([0]), torch.zeros(1, dtype=torch.int64))
    with time_parts(rollout) as watches:
        rollout.advance(state, torch.zeros(1, 1))
    assert watches.seconds["network"] > 0


def test_timing_changes_no_frame():
    frames = []
    for timed in (False, True):
        stepper = Stepper(tiny_world(), Configuration(2, 1, 1), "cpu", seed=3)
        if timed:
            with time_parts(stepper.env.unwrapped.core.rollout):
                stepper.run(0, at_least=3)
        else:
            stepper.run(0, at_least=3)
        frames.append(stepper.env.unwrapped.core.observations.copy())
    np.testing.assert_array_equal(*frames)


def test_an_analytic_world_has_no_parts():
    stepper = Stepper(ToyWorld(), Configuration(1, 1, 1), "cpu", seed=0)
    with time_parts(stepper.env.unwrapped.core.rollout) as watches:
        walls = stepper.run(0, at_least=2)
    parts = watches.per_step(sum(walls), len(walls))
    assert parts["python"] == pytest.approx(1e3 * sum(walls) / len(walls))


@pytest.mark.slow
def test_start_up_is_measured_in_a_fresh_process(tmp_path):
    folder = tiny_world().save_pretrained(tmp_path / "tiny")
    times = start_up.measure_start_up(str(folder), repeats=1)
    assert set(times) == {
        "import_torch", "import_nfd_env", "gym_make", "first_reset", "first_step"
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in times.values())


def test_a_process_that_fails_is_reported(monkeypatch):
    monkeypatch.setattr(start_up, "SCRIPT", "raise SystemExit('no such world')")
    with pytest.raises(RuntimeError, match="no such world"):
        start_up.measure_start_up("nothing", repeats=1)
