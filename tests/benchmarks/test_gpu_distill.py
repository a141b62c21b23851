import json
import sys
import tarfile
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks import gpu_distill
from benchmarks.gpu_distill import RUNS, GpuDistillOptions, pack, run, together, train_command
from benchmarks.pieces import join_pieces
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.flow import FlowConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A few-step world that keeps a teacher."""
    world = replace(tiny_world(seed=1), action_spec=sliding.SPEC, outcome=None)
    config = replace(world.config, sampler="consistency", sampling_steps=1)
    taught = replace(
        world, config=config, flow=FlowConfig(loss="energy"), teacher=tiny_world().as_teacher()
    )
    return taught.save_pretrained(tmp_path_factory.mktemp("worlds") / "toy" / "world")


def options(tmp_path, world, **changes):
    return GpuDistillOptions(
        out=tmp_path / "out", world=str(world), work=tmp_path / "work", device="cpu",
        minutes=0.02, measure_minutes=2.0, batch_size=2, episodes=0, clips=12, piece_mb=0.05,
        **changes,
    )  # fmt: skip


def test_every_run_is_a_command(tmp_path, folder):
    wanted = options(tmp_path, folder, derivative="difference", learning_rate=1e-4)
    commands = {name: train_command(name, wanted) for name in RUNS}
    assert commands["scm"][4] == str(tmp_path / "work" / "teacher")
    assert commands["further"][4] == str(folder)
    for name, command in commands.items():
        assert ("--scm.derivative" in command) == name.startswith("scm")
        assert command[command.index("--learning-rate") + 1] == "0.0001"
    assert "--learning-rate" not in train_command("energy", replace(wanted, learning_rate=None))


def test_one_that_fails_or_hangs_costs_the_others_nothing(tmp_path, capsys):
    python = [sys.executable, "-c"]
    commands = {
        "fails": [*python, "print('first'); raise SystemExit('no luck')"],
        "hangs": [*python, "import time; time.sleep(60)"],
        "works": [*python, f"open({str(tmp_path / 'made')!r}, 'w').close()"],
    }
    together(commands, tmp_path / "logs", 5.0, Console(width=200))
    said = capsys.readouterr().out
    assert "fails ended with 1: first | no luck" in said
    assert "hangs ended with -9" in said
    assert "works" not in said
    assert (tmp_path / "made").exists()


@pytest.mark.slow
def test_from_recording_to_packing(tmp_path, folder, monkeypatch):
    def record_game(_, data):
        sliding.make_dataset(data)

    monkeypatch.setattr(gpu_distill, "record_game", record_game)
    wanted = options(tmp_path, folder, runs=("energy",))
    run(wanted, Console(quiet=True))
    with tarfile.open(wanted.out / "results.tar") as archive:
        archive.extractall(tmp_path / "results", filter="data")
    costs = sorted(path.parent.name for path in (tmp_path / "results").glob("*/cost.json"))
    assert costs == ["energy"]
    rows = {
        path.parent.name: json.loads(path.read_text())["results"]["rows"]
        for path in (tmp_path / "results").glob("measured/*/distillation.json")
    }
    assert set(rows) == {"energy", "teacher", "toy"}
    assert {row["network"] for row in rows["energy"]} == {"energy"}
    assert all(path.stat().st_size <= 0.05 * 2**20 for path in wanted.out.glob("networks.tar*"))
    join_pieces(wanted.out, "networks.tar", tmp_path / "networks.tar")
    with tarfile.open(tmp_path / "networks.tar") as archive:
        assert sorted(archive.getnames()) == ["energy/config.json", "energy/network.safetensors"]


def test_nothing_trained_is_packed_all_the_same(tmp_path, folder):
    wanted = options(tmp_path, folder)
    pack(wanted, Console(quiet=True))
    assert {path.name for path in wanted.out.iterdir()} == {"results.tar", "networks.tar"}
