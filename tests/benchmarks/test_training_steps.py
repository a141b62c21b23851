"""Both ways of taking training steps are timed, and come to the same."""

import json

import pytest
import torch
from rich.console import Console

from benchmarks import training_steps
from benchmarks.training_steps import TrainingStepsOptions, run
from tests.world_model.training.test_step_graph import Tape, fails_to_capture
from world_model.training.step_graph import StepGraph

OPTIONS = TrainingStepsOptions(
    preset="tiny", losses=("x", "energy"), batch_size=2, length=4, side=16, steps=2,
    precision="float32", device="cpu",
)  # fmt: skip


@pytest.fixture
def replaying(monkeypatch):
    """Trainers replay from what the test injects, though there is no GPU."""

    def inject(capture):
        make = training_steps.make_trainer

        def made(*args, graphs):
            trainer = make(*args, graphs=graphs)
            if graphs:
                trainer.step_graph = StepGraph(torch.device("cpu"), capture)
            return trainer

        monkeypatch.setattr(training_steps, "make_trainer", made)

    return inject


@pytest.mark.slow
def test_both_ways_are_timed_and_come_to_the_same(tmp_path, replaying):
    replaying(Tape())
    out = tmp_path / "results" / "steps.json"
    rows = run(TrainingStepsOptions(**{**vars(OPTIONS), "out": out}), Console(quiet=True))
    assert [(row.loss, row.graphs, row.replayed) for row in rows] == [
        ("x", False, False), ("x", True, True), ("energy", False, False), ("energy", True, True),
    ]  # fmt: skip
    assert rows[0].last_loss == rows[1].last_loss != rows[2].last_loss == rows[3].last_loss
    assert all(row.steps_per_second > 0 and not row.note for row in rows)
    written = json.loads(out.read_text())
    assert len(written["rows"]) == 4
    assert written["rows"][1]["replayed"] is True
    assert written["hardware"]


def test_a_graph_that_fails_says_why(replaying):
    replaying(fails_to_capture)
    rows = run(TrainingStepsOptions(**{**vars(OPTIONS), "losses": ("x",)}), Console(quiet=True))
    assert not rows[1].replayed
    assert "not permitted when stream is capturing" in rows[1].note
