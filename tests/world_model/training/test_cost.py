from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest
import torch

from world_model.errors import ConfigError
from world_model.training.config import TrainConfig
from world_model.training.cost import COST, TIMED_STEPS, WARM_STEPS, noting_cost, steps_that_fit


class SlowTrainer:
    """Takes no steps, but the time of them."""

    def __init__(self, monkeypatch, seconds, step=0, steps=4000):
        self.state = SimpleNamespace(step=step)
        self.config = TrainConfig(steps=steps, batch_size=3, length=8)
        self.device, self.loss_name = torch.device("cpu"), "energy"
        self.now, self.seconds, self.saved, self.planned = 0.0, seconds, 0, []
        self.on_step = lambda: None
        monkeypatch.setattr("world_model.training.cost.time.perf_counter", lambda: self.now)

    def train_step(self):
        self.planned.append(self.config.steps - self.state.step)
        # The first steps are slow: they are not what the rate is measured on.
        self.now += self.seconds * (10 if len(self.planned) <= WARM_STEPS else 1)
        self.state.step += 1
        self.on_step()

    def save(self):
        self.saved += 1


def test_as_many_as_fit(monkeypatch):
    trainer = SlowTrainer(monkeypatch, seconds=0.5)
    steps = steps_that_fit(trainer, minutes=2)
    taken = WARM_STEPS + TIMED_STEPS
    left = 120 - 0.5 * (10 * WARM_STEPS + TIMED_STEPS)
    assert steps == taken + int(left / 0.5)
    assert steps_that_fit(trainer, minutes=0.01) == 2 * taken + 1, "late, and still one more"


def test_the_learning_rate_does_not_fall_while_the_rate_is_measured(monkeypatch):
    """However far a run that goes on has come beyond the number of steps it was begun with."""
    trainer = SlowTrainer(monkeypatch, seconds=0.5, step=6000, steps=4000)
    assert steps_that_fit(trainer, minutes=1) > 6000
    assert min(trainer.planned) > 100_000


def test_an_interruption_meanwhile_saves(monkeypatch):
    trainer = SlowTrainer(monkeypatch, seconds=0.5)
    trainer.on_step = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        steps_that_fit(trainer, minutes=1)
    assert (trainer.state.step, trainer.saved) == (1, 1)


@pytest.mark.parametrize("minutes", [0, -1, float("inf"), float("nan")])
def test_no_time_at_all_is_refused(monkeypatch, minutes):
    with pytest.raises(ConfigError, match="minutes must be a positive number"):
        steps_that_fit(SlowTrainer(monkeypatch, 1.0), minutes)


def test_costs_add_up_over_interruptions(monkeypatch, tmp_path):
    trainer = SlowTrainer(monkeypatch, seconds=2.0)

    def spend(steps):
        with noting_cost(trainer, tmp_path):
            for _ in range(steps):
                trainer.train_step()
            if steps == 300:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spend(300)
    spend(700)
    cost = json.loads((tmp_path / COST).read_text())
    assert (cost["steps"], cost["windows"]) == (1000, 3000)
    assert cost["seconds"] == pytest.approx(2.0 * (1000 + 9 * WARM_STEPS))


def test_a_run_begun_anew_begins_its_cost_anew(monkeypatch, tmp_path):
    (tmp_path / COST).write_text('{"steps": 99, "seconds": 5.0}')
    trainer = SlowTrainer(monkeypatch, seconds=1.0)
    with noting_cost(trainer, tmp_path):
        trainer.train_step()
    assert json.loads((tmp_path / COST).read_text())["steps"] == 1
