"""What the training commands share: the progress bar, the log, and opening the data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from world_model.data import EpisodeStore, open_store
from world_model.errors import ConfigError, DataError, NFDError
from world_model.outcome import OutcomeModel
from world_model.outcome_training import OutcomeProgress
from world_model.progress import LoggedProgress
from world_model.storage import atomic_file
from world_model.training.adaptation import OutcomeSettings, adapt_outcome, learn_outcome
from world_model.training.interruption import interruptible, stopping_between_steps
from world_model.training.log import Log
from world_model.training.loop import TrainingLoop
from world_model.training.processes import is_first
from world_model.world import World

console = Console(stderr=True)


def run_to_the_end(run: Callable[[], Path]) -> int:
    """Runs a command and prints the folder that it made; an interruption is no error.

    Returns:
        The exit code: 0, or 130 when interrupted.
    """
    try:
        with interruptible():
            path = run()
    except KeyboardInterrupt:
        console.print("Interrupted; the checkpoint is saved. Start the same command to go on.")
        return 130
    if is_first():
        print(path)
    return 0


def train_with_progress(
    trainer: TrainingLoop,
    folder: Path,
    sample: Callable[[Log, int], None] | None = None,
    name: str = "transformer",
) -> None:
    """Trains to the last step with a progress bar and a log; an interruption saves and raises.

    Args:
        trainer: what to train.
        folder: of the run, where the log goes.
        sample: called every ``sample_every`` steps with the log and the step.
        name: of what is trained, for the progress bar.
    """
    log = Log(folder, trainer.state.step) if is_first() else None
    try:
        _train(trainer, log, sample, name)
    finally:
        if log is not None:
            log.close()


def _train(
    trainer: TrainingLoop,
    log: Log | None,
    sample: Callable[[Log, int], None] | None,
    name: str,
) -> None:
    config = trainer.config
    losses: list[float] = []
    with (
        progress_bar(log is not None) as progress,
        stopping_between_steps() as check_for_signals,
        closing(trainer.run()) as reports,  # closed at once, so that it saves at once
    ):
        task = progress.add_task(name, total=config.steps, completed=trainer.state.step, note="")
        for report in reports:
            check_for_signals()
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
            if sample and config.sample_every and report.step % config.sample_every == 0:
                sample(log, report.step)


def learn_with_progress(
    store: EpisodeStore,
    settings: OutcomeSettings,
    folder: Path,
    *,
    device: torch.device | str,
    precision: str,
) -> OutcomeModel:
    """:func:`learn_outcome` with a progress bar."""
    with progress_bar() as progress:
        task = progress.add_task("outcome model", total=settings.steps, note="")
        return learn_outcome(
            store,
            settings,
            folder,
            device=device,
            precision=precision,
            on_progress=_on_progress(progress, task),
        )


def adapt_with_progress(
    world: World,
    store: EpisodeStore,
    settings: OutcomeSettings,
    folder: Path,
    *,
    device: torch.device | str,
    precision: str,
) -> None:
    """:func:`adapt_outcome` with a progress bar; leaves ``calibration.json`` in ``folder``.

    Where the data give nothing to calibrate on, it says so and goes on: hours of training are
    worth more than a calibration.
    """
    try:
        with progress_bar() as progress:
            task = progress.add_task(
                "outcome model on imagined frames", total=settings.finetune_steps, note=""
            )
            report = adapt_outcome(
                world,
                store,
                settings,
                device=device,
                precision=precision,
                on_progress=_on_progress(progress, task),
            )
    except DataError as error:
        console.print(f"Terminations are not calibrated: {error}")
        return
    with atomic_file(folder / "calibration.json") as path:
        path.write_text(json.dumps(asdict(report), indent=1))
    console.print(
        f"termination: negative log-likelihood {report.before.nll:.4f} before and "
        f"{report.after.nll:.4f} after calibration on imagined frames"
    )


def _on_progress(progress: Progress, task: TaskID) -> Callable[[OutcomeProgress], None]:
    def update(report: OutcomeProgress) -> None:
        note = " ".join(f"{k} {v:.3f}" for k, v in list(report.losses.items())[:2])
        progress.update(task, completed=report.step, note=note)

    return update


def progress_bar(visible: bool = True) -> Progress:
    """A progress bar, or lines where none can be drawn."""
    return LoggedProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        visible=visible,
    )


@contextmanager
def clear_errors() -> Iterator[None]:
    """Settings that do not fit are the user's to correct, not a crash."""
    try:
        yield
    except NFDError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def open_data(path: Path, opener: Callable[..., EpisodeStore] = open_store) -> EpisodeStore:
    """Opens the data set with a progress bar.

    Of several processes, one builds the cache, and the others wait at its lock: a barrier would
    time out where there are hours of video to decode.

    Args:
        path: folder of the data set.
        opener: takes the folder and ``progress``.
    """
    with ExitStack() as stack:
        shown: list[tuple[Progress, TaskID]] = []

        def report(done: int, total: int) -> None:
            if not shown:  # only the process that decodes draws a bar
                progress = stack.enter_context(progress_bar())
                shown.append((progress, progress.add_task("decoding frames", total=None, note="")))
            progress, task = shown[0]
            progress.update(task, completed=done, total=total)

        return opener(path, progress=report)
