from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from agents.evaluation import Evaluation
from benchmarks import distillation
from benchmarks.distillation import DistillationOptions, against_teacher, contenders, run
from benchmarks.results import check_benchmark
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.errors import ContextError, NFDError
from world_model.flow import FlowConfig
from world_model.world import World


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A few-step world that keeps a teacher."""
    world = tiny_world(seed=1)
    config = replace(world.config, sampler="consistency", sampling_steps=1)
    taught = replace(
        world, config=config, flow=FlowConfig(loss="energy"), teacher=tiny_world().as_teacher()
    )
    return taught.save_pretrained(tmp_path_factory.mktemp("worlds") / "run" / "world")


@pytest.fixture(scope="module")
def options(folder, tmp_path_factory):
    return DistillationOptions(
        worlds=(str(folder),),
        data=sliding.make_dataset(tmp_path_factory.mktemp("data")),
        out=tmp_path_factory.mktemp("out"),
        student_steps=(1, 2),
        teacher_steps=(2, 3),
        clips=30,
    )


def test_students_and_teachers_have_steps_of_their_own(options):
    student, teacher = contenders(options)
    assert (student.name, student.steps) == ("run", (1, 2))
    assert (teacher.name, teacher.steps) == ("teacher", (2, 3))
    assert teacher.world.flow != student.world.flow


@pytest.mark.slow
def test_every_row_is_measured_and_written(options):
    document = run(options, Console(quiet=True))
    rows = document["results"]["rows"]
    steps = [(row["network"], row["steps"]) for row in rows]
    assert steps == [("run", 1), ("run", 2), ("teacher", 2), ("teacher", 3)]
    for row in rows:
        assert len(row["psnr"]) == len(row["psnr_changed"]) == 16
        assert row["milliseconds"] > 0
        assert set(row["frechet"]) == {"1-4", "5-8", "9-16"}
        assert min(row["frechet"].values()) > 0
        assert row["hazard"]["ends"] > 0
        assert "spearman" not in row
    assert rows[0]["psnr"] != rows[2]["psnr"]
    written = json.loads((options.out / "distillation.json").read_text())
    check_benchmark(written)
    assert written["results"]["rows"] == rows
    assert (options.out / "distillation.png").is_file()


def test_students_are_compared_with_the_teachers_best():
    def side(*means):
        return [
            Evaluation(str(i), "toy", m + np.arange(5.0), np.ones(5, int), np.ones(5, bool), 1.0)
            for i, m in enumerate(means)
        ]

    def row(network, steps, *means):
        returns = {e.policy: e.returns.tolist() for e in side(*means)}
        return {"network": network, "steps": steps, "returns": returns}

    real = side(0, 100, 200, 300)
    rows = [
        row("run", 1, 0, 100, 200, 300),
        row("run", 2, 300, 200, 100, 0),
        {"network": "run", "steps": 4},
        row("teacher", 2, 300, 200, 100, 0),
        row("teacher", 18, 0, 200, 100, 300),
    ]
    differences = against_teacher(real, rows)
    assert set(differences) == {"run, 1 steps", "run, 2 steps"}
    assert differences["run, 1 steps"]["estimate"] == pytest.approx(0.2)
    assert differences["run, 2 steps"]["estimate"] == pytest.approx(-1.8)
    assert against_teacher(real, rows[:1]) == {}
    assert against_teacher([], rows) == {}


@pytest.fixture
def measured(monkeypatch):
    """Numbers of steps that are measured, in order."""
    seen = []
    measure = distillation.measure
    monkeypatch.setattr(
        distillation, "measure", lambda *args: (seen.append(args[1]), measure(*args))[1]
    )
    return seen


@pytest.mark.slow
def test_rows_of_several_runs_are_joined(options, folder, tmp_path, measured):
    quiet, few = Console(quiet=True), replace(options, clips=12, pictures=False)
    one = replace(few, out=tmp_path / "one", only=("run",), timed=False)
    rows = run(one, quiet)["results"]["rows"]
    assert [(row["network"], row["milliseconds"]) for row in rows] == [("run", None)] * 2
    two = replace(few, out=tmp_path / "two", only=("teacher",), teacher_steps=(2,))
    timed_there = run(two, quiet)["results"]["rows"][0]["milliseconds"]
    both = replace(few, out=tmp_path / "both", join=(one.out, two.out))
    measured.clear()
    joined = run(both, quiet)["results"]["rows"]
    assert [(row["network"], row["steps"]) for row in joined] == [
        ("run", 1), ("run", 2), ("teacher", 2), ("teacher", 3)
    ]  # fmt: skip
    assert measured == [3], "the others were known"
    assert all(row["milliseconds"] > 0 for row in joined), "timed where they are put together"
    assert joined[2]["milliseconds"] != timed_there
    assert joined[0]["psnr"] == rows[0]["psnr"]
    run(both, quiet)
    assert measured == [3], "nothing is measured twice"
    with pytest.raises(NFDError, match="measured with other seed"):
        run(replace(both, seed=1), quiet)
    other = World.from_pretrained(folder)
    other.teacher, other.config = None, replace(other.config, context_noise=0.2)
    path = other.save_pretrained(tmp_path / "other" / "world")
    with pytest.raises(NFDError, match="measured with other first world"):
        run(replace(both, worlds=(str(path), *both.worlds)), quiet)
    with pytest.raises(NFDError, match="no rows to join"):
        run(replace(both, join=(tmp_path,)), quiet)


@pytest.mark.slow
def test_an_interruption_loses_no_row(options, tmp_path, monkeypatch, measured):
    quiet = Console(quiet=True)
    few = replace(options, out=tmp_path, clips=12, pictures=False, timed=False)
    run(few, quiet)
    more = replace(few, student_steps=(1, 3, 2))
    measure = distillation.measure

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(distillation, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(more, quiet)
    monkeypatch.setattr(distillation, "measure", measure)
    measured.clear()
    run(more, quiet)
    assert measured == [3], "the rows behind it were still there"


def test_a_name_that_is_not_there_is_refused(options):
    with pytest.raises(NFDError, match="--only names walk, but there are run, teacher"):
        run(replace(options, only=("walk",)), Console(quiet=True))


def test_what_does_not_fit_is_refused(options, tmp_path):
    with pytest.raises(NFDError, match="--worlds names nothing"):
        run(replace(options, worlds=()), Console(quiet=True))
    with pytest.raises(ContextError, match="Give the data set that it was learned from"):
        run(replace(options, worlds=("doom-take-cover",)), Console(quiet=True))
