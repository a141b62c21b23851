"""Figures end up in both logs, each step once, however often a run was killed."""

from __future__ import annotations

import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from world_model.training.log import Log


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_figures_are_written_for_people_and_for_scripts(tmp_path):
    log = Log(tmp_path / "run")
    log.write(10, loss=0.5, learning_rate=0.1)
    log.write(20, loss=0.25, learning_rate=0.1)
    log.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path / "run")] == [
        (10, 0.5),
        (20, 0.25),
    ]
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [(10, 0.5), (20, 0.25)]


def test_steps_that_are_done_again_are_logged_once(tmp_path):
    """Killed at step 30, half a line into its log; the checkpoint was of step 15."""
    log = Log(tmp_path)
    for step in (10, 20, 30):
        log.write(step, loss=float(step))
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    log = Log(tmp_path, 15)
    log.write(20, loss=21.0)
    log.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(10, 10.0), (20, 21.0)]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [(10, 10.0), (20, 21.0)]
