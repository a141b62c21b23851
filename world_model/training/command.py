"""``nfd train``: recorded episodes in, a world out."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from world_model.data import open_store
from world_model.outcome_training import OutcomeProgress
from world_model.presets import PRESETS, get_preset, with_frame_shape
from world_model.training.pipeline import OutcomeSettings, Stages
from world_model.training.samples import sample_world
from world_model.training.trainer import Trainer

console = Console(stderr=True)


@dataclass(frozen=True)
class TrainCommand:
    """Trains a world on recorded episodes; start it again to go on after an interruption."""

    preset: Annotated[str, tyro.conf.Positional]
    """Architecture and defaults: doom-take-cover, nfd-130m, nfd-310m, nfd-774m, tiny."""
    data: Path | None = None
    """Folder of the data set (default: data/PRESET)."""
    out: Path | None = None
    """Folder of the run (default: runs/PRESET); the world ends up in its folder ``world``."""
    name: str | None = None
    """Name of the world (default: the preset's)."""
    steps: int | None = None
    """Optimiser steps of the transformer."""
    batch_size: int | None = None
    """Windows per step."""
    length: int | None = None
    """Frames per window."""
    learning_rate: float | None = None
    """Peak learning rate."""
    precision: str = "auto"
    """auto, float32 or bfloat16."""
    compile: bool = False
    """Compile the network (a minute or two at the start; needs a C++ compiler on a CPU)."""
    seed: int = 0
    """Seed of everything that is drawn."""
    save_every: int | None = None
    """Steps between checkpoints."""
    sample_every: int | None = None
    """Steps between sample videos (0: never)."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    half: bool = True
    """Store the transformer's weights as float16."""
    outcome: OutcomeSettings = field(default_factory=OutcomeSettings)
    """How much the outcome model is trained."""


class Log:
    """Writes figures to TensorBoard and to ``metrics.jsonl``."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._board = SummaryWriter(str(folder / "tensorboard"))
        self._lines = (folder / "metrics.jsonl").open("a")
        self._started = time.monotonic()

    def write(self, step: int, **figures: float) -> None:
        """One line, and one point in every curve."""
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        seconds = round(time.monotonic() - self._started, 1)
        self._lines.write(json.dumps({"step": step, "seconds": seconds, **figures}) + "\n")
        self._lines.flush()

    def close(self) -> None:
        """Flushes everything."""
        self._board.close()
        self._lines.close()


def run(command: TrainCommand) -> Path:
    """Trains every stage that is not done yet; returns the folder of the world."""
    preset = get_preset(command.preset)
    store = open_store(command.data or Path("data") / command.preset)
    preset = with_frame_shape(preset, store.frame_shape)
    changes: dict[str, Any] = {
        name: getattr(command, name)
        for name in ("steps", "batch_size", "length", "learning_rate", "save_every", "sample_every")
        if getattr(command, name) is not None
    }
    train = replace(
        preset.train,
        **changes,
        precision=command.precision,
        compile=command.compile,
        seed=command.seed,
    )
    folder = command.out or Path("runs") / command.preset
    distributed, device = _set_up_processes(command.device)
    stages = Stages(
        store,
        preset,
        folder,
        command.name or command.preset,
        train,
        command.outcome,
        device,
    )
    first = int(os.environ.get("RANK", 0)) == 0
    trainer = stages.trainer()
    log = Log(folder) if first else None
    try:
        _train_transformer(stages, trainer, log)
    finally:
        if log is not None:
            log.close()
        if distributed:
            torch.distributed.destroy_process_group()
    if not first:
        return folder / "world"
    return _finish(stages, trainer, half=command.half)


def main(argv: list[str]) -> int:
    """Entry point of ``nfd train``."""
    command = tyro.cli(TrainCommand, args=argv, prog="nfd train", description=_describe())
    try:
        path = run(command)
    except KeyboardInterrupt:
        console.print("Interrupted; the checkpoint is saved. Start the same command to go on.")
        return 130
    if int(os.environ.get("RANK", 0)) == 0:
        print(path)
    return 0


def _train_transformer(stages: Stages, trainer: Trainer, log: Log | None) -> None:
    config = stages.train
    losses: list[float] = []
    with _progress(log is not None) as progress:
        task = progress.add_task(
            "transformer", total=config.steps, completed=trainer.state.step, note=""
        )
        for report in trainer.run():
            losses.append(report.loss)
            progress.update(task, completed=report.step, note=f"loss {report.loss:.4f}")
            if log is None:
                continue
            if report.step % config.log_every == 0:
                log.write(
                    report.step,
                    loss=sum(losses) / len(losses),
                    learning_rate=report.learning_rate,
                    gradient_norm=report.gradient_norm,
                )
                losses.clear()
            if config.sample_every and report.step % config.sample_every == 0:
                _sample(stages, trainer, log, report.step)


def _sample(stages: Stages, trainer: Trainer, log: Log, step: int) -> None:
    report = sample_world(
        stages.world(trainer),
        stages.store,
        stages.folder / "samples" / f"step-{step:07d}.mp4",
        device=stages.device,
    )
    figures = {f"psnr/{h}": value for h, value in report.psnr.items()}
    repeat = {f"psnr_repeat_last/{h}": value for h, value in report.psnr_repeat_last.items()}
    log.write(step, **figures, **repeat)
    text = ", ".join(f"{h}: {v:.1f}" for h, v in report.psnr.items())
    console.print(f"step {step}: PSNR in dB at horizon {text}  ({report.video})")


def _finish(stages: Stages, trainer: Trainer, *, half: bool) -> Path:
    """Outcome model, calibration, and the folder of the world."""
    outcome = None
    if stages.outcome.steps:
        with _progress() as progress:
            task = progress.add_task("outcome model", total=stages.outcome.steps, note="")
            outcome = stages.train_outcome(_on_progress(progress, task))
    world = stages.world(trainer, outcome)
    if outcome is not None:
        with _progress() as progress:
            task = progress.add_task(
                "outcome model on imagined frames", total=stages.outcome.finetune_steps, note=""
            )
            report = stages.adapt_outcome(world, _on_progress(progress, task))
        (stages.folder / "calibration.json").write_text(json.dumps(asdict(report), indent=1))
        console.print(
            f"termination: negative log-likelihood {report.before.nll:.4f} before and "
            f"{report.after.nll:.4f} after calibration on imagined frames"
        )
    dtype = torch.float16 if half else torch.float32
    return world.save_pretrained(stages.folder / "world", dtype=dtype)


def _on_progress(progress: Progress, task: Any) -> Callable[[OutcomeProgress], None]:
    def update(report: OutcomeProgress) -> None:
        note = " ".join(f"{k} {v:.3f}" for k, v in list(report.losses.items())[:2])
        progress.update(task, completed=report.step, note=note)

    return update


def _progress(visible: bool = True) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not visible,
        transient=not sys.stderr.isatty(),
    )


def _set_up_processes(name: str) -> tuple[bool, torch.device]:
    """Joins the processes that ``accelerate launch`` or ``torchrun`` started, and a device."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    if name == "auto":
        name = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return False, device
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return True, device


def _describe() -> str:
    return f"{TrainCommand.__doc__} Presets: {', '.join(PRESETS)}."
