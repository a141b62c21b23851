"""Distils a bundled world by every method at once on a machine with a GPU, and compares them.

Records the data on the spot, gives each run the same time side by side with the others, measures
all of them (likeness, outcomes, ranking of policies) and leaves the figures and the networks in a
few files of limited size.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console

from benchmarks.distillation import label_of
from benchmarks.gpu_train import GpuTrainOptions, record_game
from benchmarks.pieces import split_file
from world_model.data import open_store
from world_model.world import World

STAGES = ("record", "train", "measure", "pack")
TEACHER, STUDENT = "{teacher}", "{student}"
RUNS: dict[str, tuple[str, ...]] = {
    "energy": (TEACHER, "--method", "energy"),
    "scm": (TEACHER, "--method", "scm"),
    "scm-adversarial": (TEACHER, "--method", "scm", "--adversarial"),
    "consistency": (TEACHER, "--method", "consistency"),
    "shortcut": (TEACHER, "--method", "shortcut"),
    "further": (STUDENT, "--further"),
    "layers-4": (STUDENT, "--further", "--layers", "4"),
    "small": (STUDENT, "--further", "--layers", "4", "--mlp-width", "384"),
}
"""What is trained: from the many-step teacher, or from the student that the world has already."""


@dataclass(frozen=True)
class GpuDistillOptions:
    """Distils a world in several ways side by side, and compares them."""

    out: Path
    """Folder for the results, and nothing else."""
    world: str = "doom-take-cover"
    """World to distil; it keeps its teacher."""
    runs: tuple[str, ...] = tuple(RUNS)
    """Which of the runs."""
    stages: tuple[str, ...] = STAGES
    """Which stages: record, train, measure, pack. Later ones use what earlier ones left."""
    minutes: float = 3.5
    """Training time of each run."""
    measure_minutes: float = 3.0
    """Time after which measuring stops; rows that are done stay."""
    batch_size: int = 32
    """Windows per step."""
    learning_rate: float | None = None
    """Peak learning rate (default: each method's own)."""
    warmup_steps: int = 200
    """Steps over which scm's tangents come in."""
    derivative: str = "jvp"
    """How scm differentiates: jvp or difference."""
    frames: int = 200_000
    """Frames to record."""
    processes: int = 16
    """Games side by side."""
    episodes: int = 20
    """Episodes of each policy in the ranking; 0 leaves it out."""
    clips: int = 128
    """Held-out clips."""
    real_returns: Path | None = None
    """Returns in the real game, played before; see ``benchmarks.distillation``."""
    keep: tuple[str, ...] = tuple(RUNS)
    """Runs whose networks are brought back, the first ones first."""
    work: Path = Path("runs/gpu-distill")
    """Folder for what need not be kept."""
    piece_mb: float = 15.5
    """Largest file that is left, in MB of 2**20 bytes."""
    seed: int = 0
    """Of recording and training."""
    device: str = "cuda"
    """Where to train and imagine."""


def run(options: GpuDistillOptions, console: Console) -> None:
    """All stages that are asked for; a run that fails costs the others nothing.

    Raises:
        NFDError: if the world or the game is missing.
    """
    started = time.perf_counter()
    options.work.mkdir(parents=True, exist_ok=True)
    for stage in options.stages:
        {"record": record, "train": train, "measure": measure, "pack": pack}[stage](
            options, console
        )
        console.print(f"{stage}: done after {time.perf_counter() - started:.0f} s")


def record(options: GpuDistillOptions, console: Console) -> None:
    """Records the real game."""
    settings = GpuTrainOptions(
        out=options.out,
        preset=options.world,
        frames=options.frames,
        processes=options.processes,
        seed=options.seed,
    )
    record_game(settings, options.work / "data")
    open_store(options.work / "data")  # decoded once, before many processes need it


def train(options: GpuDistillOptions, console: Console) -> None:
    """All runs side by side."""
    teacher = options.work / "teacher"
    if not teacher.exists():
        World.from_pretrained(options.world).many_step().save_pretrained(
            teacher, dtype=torch.float16
        )
    commands = {name: train_command(name, options) for name in options.runs}
    together(commands, options.work / "logs", 60 * options.minutes * 1.5 + 60, console)


def train_command(name: str, options: GpuDistillOptions) -> list[str]:
    """The command line of a run."""
    places = {TEACHER: str(options.work / "teacher"), STUDENT: options.world}
    arguments = [places.get(part, part) for part in RUNS[name]]
    if options.learning_rate is not None:
        arguments += ["--learning-rate", str(options.learning_rate)]
    if "scm" in arguments:
        arguments += ["--scm.warmup-steps", str(options.warmup_steps)]
        arguments += ["--scm.derivative", options.derivative]
    return [
        sys.executable, "-m", "nfd_env.cli.main", "distill", *arguments,
        "--data", str(options.work / "data"), "--out", str(options.work / name),
        "--minutes", str(options.minutes), "--batch-size", str(options.batch_size),
        "--seed", str(options.seed),
        "--device", options.device, "--save-every", "100000",
        # All are watched by the same outcome model.
        "--outcome.finetune-steps", "0", "--outcome.calibration-batches", "0",
        "--outcome.moments", "8",
    ]  # fmt: skip


def measure(options: GpuDistillOptions, console: Console) -> None:
    """Every network that is there, side by side."""
    made = [n for n in options.runs if (options.work / n / "world" / "config.json").is_file()]
    folders = [str(options.work / name / "world") for name in made]
    commands = {}
    for name in (*made, "teacher", label_of(options.world)):
        out = options.work / "measured" / name
        out.mkdir(parents=True, exist_ok=True)
        if options.real_returns is not None:
            shutil.copy(options.real_returns, out / "real-returns.json")
        commands[name] = [
            sys.executable, "-m", "benchmarks.distillation", "--worlds", options.world, *folders,
            "--data", str(options.work / "data"), "--only", name, "--out", str(out),
            "--student-steps", "1", "2", "4", "--teacher-steps", "18", "4", "2", "8", "1",
            "--ranked-steps", "1", "2", "18", "--episodes", str(options.episodes),
            "--streams", "256", "--clips", str(options.clips), "--device", options.device,
            "--no-timed", "--no-pictures",
        ]  # fmt: skip
    together(commands, options.work / "logs-measuring", 60 * options.measure_minutes, console)


def together(
    commands: Mapping[str, list[str]], logs: Path, seconds: float, console: Console
) -> None:
    """Runs commands side by side, each with a log of its own; stops them when time is up."""
    logs.mkdir(parents=True, exist_ok=True)
    # One thread each: there are as many processes as cores.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    end = time.monotonic() + seconds
    running = {}
    for name, command in commands.items():
        with (logs / f"{name}.log").open("wb") as log:
            running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env
            )
    for name, process in running.items():
        try:
            code = process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            said = (logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
            console.print(f"{name} ended with {code}: " + " | ".join(said[-4:]), markup=False)


def pack(options: GpuDistillOptions, console: Console) -> None:
    """``results.tar`` with figures, costs and logs, and the networks in pieces of an archive."""
    options.out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(options.out / "results.tar", "w") as archive:
        for pattern in ("*/cost.json", "measured/*/*.json", "logs*/*.log"):
            for path in sorted(options.work.glob(pattern)):
                archive.add(path, arcname=str(path.relative_to(options.work)))
    costs = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(options.work.glob("*/cost.json"))
    }
    console.print_json(json.dumps(costs))
    with tarfile.open(options.out / "networks.tar", "w") as archive:
        for name in options.keep:
            for file in ("config.json", "network.safetensors"):
                path = options.work / name / "world" / file
                if path.is_file():
                    archive.add(path, arcname=f"{name}/{file}")
    split_file(options.out / "networks.tar", options.piece_mb)


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m benchmarks.gpu_distill``."""
    run(tyro.cli(GpuDistillOptions, args=argv), Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
