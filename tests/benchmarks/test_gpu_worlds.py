import sys
import tarfile
from dataclasses import replace

import pytest
import tyro
from rich.console import Console

from benchmarks import gpu_worlds
from benchmarks.gpu_train import GpuTrainOptions
from benchmarks.gpu_worlds import GpuWorldsOptions, run
from benchmarks.pieces import join_pieces


@pytest.fixture
def options(tmp_path):
    return GpuWorldsOptions(
        out=tmp_path / "out", work=tmp_path / "work", minutes=3.0, distill_minutes=1.0,
        device="cpu", piece_mb=0.01,
    )  # fmt: skip


def test_stages_follow_each_other_within_the_time(options, monkeypatch):
    stages = []

    def fake(commands, logs, seconds, console):
        stages.append((list(commands), seconds))
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "some.log").write_text("said")
        for name, command in commands.items():
            if name == "student-breakout":  # the other one fails
                place = command[command.index("--work") + 1]
                world = options.work / "breakout" / "student" / "world"
                assert str(world.parent) == place
                world.mkdir(parents=True)
                (world / "network.safetensors").write_bytes(bytes(25_000))

    monkeypatch.setattr(gpu_worlds, "together", fake)
    run(options, Console(quiet=True))
    names = [set(commands) for commands, _ in stages]
    doom, breakout = "doom-defend-the-center", "breakout"
    assert names == [
        {f"record-{doom}", f"record-{breakout}"},
        {f"teacher-{doom}", f"outcome-{doom}", f"teacher-{breakout}", f"outcome-{breakout}"},
        {f"student-{doom}", f"student-{breakout}"},
    ]
    assert stages[1][1] == pytest.approx(60 * (2.0 + gpu_worlds.SLACK), abs=5)
    assert stages[2][1] == pytest.approx(60 * (3.0 + gpu_worlds.SLACK), abs=5)
    found = sorted(path.name for path in options.out.iterdir())
    assert found == ["breakout.tar.000", "breakout.tar.001", "breakout.tar.002", "logs.tar"]
    with tarfile.open(join_pieces(options.out, "breakout.tar", options.work / "whole")) as archive:
        assert "world/network.safetensors" in archive.getnames()


def test_teachers_begin_with_those_of_an_earlier_run(options, tmp_path):
    (tmp_path / "breakout").mkdir()
    (tmp_path / "breakout" / "config.json").touch()
    commands = gpu_worlds.teacher_commands(replace(options, begin=tmp_path), 1.0)
    starts = {
        name: tyro.cli(GpuTrainOptions, args=command[3:]).start_from
        for name, command in commands.items()
    }
    begun = {name: start for name, start in starts.items() if start is not None}
    assert begun == {"teacher-breakout": str(tmp_path / "breakout")}


def test_commands_are_such_that_the_programs_take_them(options):
    commands = {
        **gpu_worlds.teacher_commands(options, 2.0),
        **gpu_worlds.student_commands(options, 1.0),
    }
    for name, command in commands.items():
        assert command[:3] == [sys.executable, "-m", "benchmarks.gpu_train"]
        settings = tyro.cli(GpuTrainOptions, args=command[3:])
        assert settings.only_outcome == name.startswith("outcome")
        assert (settings.distill is not None) == name.startswith("student")
        assert settings.outcome_width == (128 if "breakout" in name else 160)
    from agents.collecting.command import CollectConfig

    for command in gpu_worlds.record_commands(options).values():
        assert tyro.cli(CollectConfig, args=command[4:]).processes == 8
