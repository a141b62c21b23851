import json
import time

import pytest
from rich.console import Console

from benchmarks import loading
from benchmarks.bench import BENCHES
from benchmarks.loading import LoadingOptions
from benchmarks.results import check_benchmark
from tests.benchmarks import sliding
from world_model.errors import ConfigError
from world_model.training.trainer import Trainer


def test_loading_and_training_are_timed_apart(tmp_path, monkeypatch):
    sliding.make_dataset(tmp_path / "data")
    load, train_step, steps = Trainer.load, Trainer.train_step, []

    def slow_load(self, step):
        steps.append(step)
        time.sleep(0.005)
        return load(self, step)

    def slow_step(self):
        time.sleep(0.1)
        return train_step(self)

    monkeypatch.setattr(Trainer, "load", slow_load)
    monkeypatch.setattr(Trainer, "train_step", slow_step)
    options = LoadingOptions("tiny", tmp_path / "data", rounds=3, loads=4, out=tmp_path / "l.json")
    results = loading.run(options, Console(quiet=True))["results"]
    check_benchmark(json.loads(options.out.read_text()))
    assert results["load_ms"] >= 5
    assert results["step_ms"] >= 100
    assert results["ratio"] == pytest.approx(results["step_ms"] / results["load_ms"])
    assert results["windows_per_second_loaded"] == pytest.approx(4e3 / results["load_ms"])
    fresh = [step for step in steps if step >= 1_000]
    assert fresh == list(range(1_000, 1_012)), "batches that nothing has touched yet"


def test_what_cannot_be_timed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        loading.run(LoadingOptions(rounds=0), Console(quiet=True))
    with pytest.raises(ConfigError, match="unknown preset 'chess'"):
        loading.run(LoadingOptions("chess"), Console(quiet=True))
    assert BENCHES["loading"][0] == loading.__name__
