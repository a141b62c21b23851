"""Several processes train one world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.world_model.training.bars import make_trainer
from world_model.errors import ConfigError
from world_model.training.processes import advice, find_device, is_first, join_processes
from world_model.world import World

# Each process trains by the real command, then writes down what it ended with.
SCRIPT = """
import hashlib, json, os, sys
from pathlib import Path
from world_model.training import command
from world_model.training.pipeline import Stages
from world_model.training.trainer import Trainer

trainers, losses, windows = [], [], []
make, train_step = Stages.trainer, Trainer.train_step

def keep(self):
    trainers.append(make(self))
    windows.append(trainers[-1]._windows.rows(0).tolist())
    return trainers[-1]

def note(self):
    report = train_step(self)
    losses.append(report.loss)
    return report

Stages.trainer, Trainer.train_step = keep, note
code = command.main(sys.argv[2:])
state = trainers[0].state
digest = hashlib.sha256()
for tensor in [*state.network.parameters(), *state.ema.weights.values()]:
    digest.update(tensor.detach().numpy().tobytes())
result = {"digest": digest.hexdigest(), "losses": losses, "windows": windows, "step": state.step}
Path(sys.argv[1], f"rank{os.environ['RANK']}.json").write_text(json.dumps(result))
sys.exit(code)
"""


def launch(folder: Path, repository: Path, options: list[str]) -> list[dict]:
    """Two processes by ``accelerate launch``; what each ended with."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
            *("--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
            *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
            *(str(script), str(folder), *options),
        ],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_end_with_one_world(bars, tmp_path, repository):
    pytest.importorskip("accelerate")
    run = tmp_path / "run"
    options = ["tiny", "--data", str(bars.root), "--out", str(run), "--precision", "float32"]
    options += ["--batch-size", "8", "--learning-rate", "0.01", "--outcome.steps", "0"]
    first, second = launch(tmp_path, repository, [*options, "--steps", "30"])
    assert first["digest"] == second["digest"]
    assert first["losses"] == second["losses"]  # averaged over the processes
    assert sum(first["losses"][-5:]) < 0.7 * sum(first["losses"][:5])
    assert first["windows"] != second["windows"]
    assert len(first["windows"][0]) == len(second["windows"][0]) == 4
    assert {path.name for path in run.iterdir()} == {
        "checkpoint",
        "metrics.jsonl",
        "tensorboard",
        "world",
    }
    assert len(list((run / "tensorboard").iterdir())) == 1
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps))
    before = World.from_pretrained(run / "world").model_id

    # The same command goes on where they stopped, in both processes.
    again = launch(tmp_path, repository, [*options, "--steps", "33"])
    assert again[0]["digest"] == again[1]["digest"] != first["digest"]
    assert [len(result["losses"]) for result in again] == [3, 3]
    assert World.from_pretrained(run / "world").model_id != before


def test_each_process_sees_windows_of_its_own(bars, tmp_path, monkeypatch):
    rows = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        rows.append(make_trainer(bars, tmp_path)._windows.rows(0).tolist())
    assert rows[0] != rows[1]


def test_only_the_first_process_writes(bars, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    make_trainer(bars, tmp_path).save()
    assert not is_first()
    assert list(tmp_path.iterdir()) == []


def test_a_process_alone_joins_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not join_processes(torch.device("cpu"))
    assert not torch.distributed.is_initialized()


def test_devices(monkeypatch):
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(ConfigError, match=f"there is no device '{name}'"):
            find_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *shape, device: None)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert find_device("auto") == torch.device("cuda:3")


def test_advice_for_those_whom_accelerate_gave_one_process(monkeypatch):
    for name in ("MASTER_PORT", "ACCELERATE_USE_CPU", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert advice() is None
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert "--multi_gpu --num_processes N" in advice()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert advice() is None
