"""Makes several worlds at once on a machine with a GPU: recorded, trained, distilled, adapted.

All of it within a fixed time. Games are recorded side by side; then each world's many-step teacher
is trained beside its outcome model; then the teachers are distilled. What is left lies flat in one
folder: an archive for each world, in pieces of limited size, and the logs.
"""

from __future__ import annotations

import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from benchmarks.gpu_distill import together
from benchmarks.pieces import split_file

OUTCOME_WIDTHS = {"doom-defend-the-center": 160, "breakout": 128}
"""Of the outcome models, where they need not be as large as usual."""
SLACK = 0.5
"""Minutes that a stage may take longer than planned."""


@dataclass(frozen=True)
class GpuWorldsOptions:
    """Makes worlds of several games side by side."""

    out: Path
    """Folder for the results, and nothing else."""
    presets: tuple[str, ...] = ("doom-defend-the-center", "breakout")
    """Worlds to make."""
    begin: Path | None = None
    """Folder of worlds of an earlier run, each under its preset's name, with whose many-step
    networks the teachers begin; those that are not there begin anew."""
    minutes: float = 9.2
    """Everything together."""
    distill_minutes: float = 4.6
    """The last part of it, for distilling, adapting and packing."""
    adapt_minutes: float = 1.2
    """The last part of that."""
    frames: int = 200_000
    """Frames of each game to record."""
    processes: int = 16
    """Games side by side, over all."""
    batch_size: int = 64
    """Windows per step of the teachers."""
    student_batch_size: int | None = None
    """Windows per step of the students (default: half as many)."""
    learning_rate: float = 1e-3
    """Peak learning rate of the students."""
    outcome_steps: int = 1_200
    """Steps of the outcome models."""
    finetune_steps: int = 60
    """Of them on imagined frames; 0 leaves adapting to a later ``nfd`` command."""
    compile: bool = False
    """Compile the networks."""
    graphs: bool = True
    """Replay training steps as CUDA graphs; only without ``compile``."""
    work: Path = Path("runs/gpu-worlds")
    """Folder for what need not be kept."""
    piece_mb: float = 15.5
    """Largest file that is left, in MB of 2**20 bytes."""
    seed: int = 0
    """Of recording and training."""
    device: str = "cuda"
    """Where to train."""


def run(options: GpuWorldsOptions, console: Console) -> None:
    """All worlds; one that fails costs the others nothing, and what is late is left out."""
    end = time.perf_counter() + 60 * options.minutes

    def left() -> float:
        return (end - time.perf_counter()) / 60

    def stage(name: str, commands: Mapping[str, list[str]], minutes: float) -> None:
        together(commands, options.work / "logs", 60 * minutes, console)
        console.print(f"{name}: {left():.1f} minutes left")

    stage("record", record_commands(options), left())
    minutes = max(0.1, left() - options.distill_minutes)
    stage("teachers", teacher_commands(options, minutes), minutes + SLACK)
    stage("students", student_commands(options, left()), left() + SLACK)
    pack(options)


def pack(options: GpuWorldsOptions) -> None:
    """``PRESET.tar`` of every world that there is, and ``logs.tar``."""
    options.out.mkdir(parents=True, exist_ok=True)
    for preset in options.presets:
        world = options.work / preset / "student" / "world"
        if world.is_dir():
            with tarfile.open(options.out / f"{preset}.tar", "w") as archive:
                archive.add(world, arcname="world")
            split_file(options.out / f"{preset}.tar", options.piece_mb)
    with tarfile.open(options.out / "logs.tar", "w") as archive:
        archive.add(options.work / "logs", arcname="logs")


def record_commands(options: GpuWorldsOptions) -> dict[str, list[str]]:
    """The recording of each game."""
    share = max(1, options.processes // len(options.presets))
    return {
        f"record-{preset}": [
            sys.executable, "-m", "nfd_env.cli.main", "collect", preset,
            "--steps", str(options.frames), "--processes", str(share),
            "--seed", str(options.seed), "--out", str(options.work / preset / "data"),
        ]
        for preset in options.presets
    }  # fmt: skip


def teacher_commands(options: GpuWorldsOptions, minutes: float) -> dict[str, list[str]]:
    """The training of each teacher, and beside it that of the world's outcome model."""
    commands = {}
    for preset in options.presets:
        folder = options.work / preset
        commands[f"teacher-{preset}"] = [
            *train_command(preset, options, "teacher"),
            "--minutes", str(minutes), "--outcome-minutes", "0.1", "--outcome-steps", "0",
            "--batch-size", str(options.batch_size), "--out", str(folder / "teacher-out"),
        ]  # fmt: skip
        if options.begin is not None and (options.begin / preset / "config.json").is_file():
            commands[f"teacher-{preset}"] += ["--start-from", str(options.begin / preset)]
        commands[f"outcome-{preset}"] = [
            *train_command(preset, options, "student"), "--only-outcome",
            "--outcome-steps", str(options.outcome_steps), "--out", str(folder / "outcome-out"),
        ]  # fmt: skip
    return commands


def student_commands(options: GpuWorldsOptions, minutes: float) -> dict[str, list[str]]:
    """The distillation of each teacher, and the adaptation of the outcome model to it."""
    return {
        f"student-{preset}": [
            *train_command(preset, options, "student"),
            "--distill", str(options.work / preset / "teacher" / "world"),
            "--minutes", str(minutes), "--outcome-minutes", str(options.adapt_minutes),
            "--outcome-steps", str(options.outcome_steps),
            "--outcome-horizon", "32", "--finetune-steps", str(options.finetune_steps),
            "--batch-size", str(options.student_batch_size or max(1, options.batch_size // 2)),
            "--learning-rate", str(options.learning_rate),
            "--out", str(options.work / preset / "student-out"),
        ]
        for preset in options.presets
    }  # fmt: skip


def train_command(preset: str, options: GpuWorldsOptions, work: str) -> list[str]:
    """What the calls of ``benchmarks.gpu_train`` for a world have in common.

    The student's folder is that of the outcome model too, so that it is found there.
    """
    return [
        sys.executable, "-m", "benchmarks.gpu_train", "--preset", preset,
        "--data", str(options.work / preset / "data"), "--device", options.device,
        "--work", str(options.work / preset / work),
        "--seed", str(options.seed), "--compile" if options.compile else "--no-compile",
        "--graphs" if options.graphs else "--no-graphs",
        "--outcome-width", str(OUTCOME_WIDTHS.get(preset, 256)),
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m benchmarks.gpu_worlds``."""
    run(tyro.cli(GpuWorldsOptions, args=argv), Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
