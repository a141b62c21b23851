"""What a training takes: steps that fit into a time, and a note of what was spent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from world_model.errors import ConfigError
from world_model.storage import atomic_file
from world_model.training.interruption import stopping_between_steps
from world_model.training.loop import TrainingLoop
from world_model.training.pipeline import describe_hardware

WARM_STEPS, TIMED_STEPS = 5, 15
"""Training steps before the rate is measured, and those that it is measured on."""
COST = "cost.json"
"""File in the folder of a run."""


def steps_that_fit(trainer: TrainingLoop, minutes: float) -> int:
    """Steps in all that a run will have done in so many minutes; takes the first few to see.

    Raises:
        ConfigError: if ``minutes`` is not a positive number.
    """
    if not 0 < minutes < float("inf"):
        raise ConfigError(f"minutes must be a positive number, not {minutes}.")
    end = time.perf_counter() + 60 * minutes
    # As if there were many more to come: the learning rate must not fall yet.
    trainer.config = replace(trainer.config, steps=trainer.state.step + 1_000_000_000)
    with stopping_between_steps() as check_for_signals:

        def save_if_stopped() -> None:
            try:
                check_for_signals()
            except KeyboardInterrupt:
                trainer.save()
                raise

        rate = steps_per_second(trainer, WARM_STEPS, TIMED_STEPS, save_if_stopped)
    return trainer.state.step + max(1, int(rate * (end - time.perf_counter())))


def steps_per_second(
    trainer: TrainingLoop, warm: int, timed: int, after_step: Callable[[], None] = lambda: None
) -> float:
    """Takes ``warm`` training steps, then ``timed`` ones, and tells the rate of the latter."""
    for _ in range(warm):
        trainer.train_step()
        after_step()
    _synchronise(trainer.device)
    started = time.perf_counter()
    for _ in range(timed):
        trainer.train_step()
        after_step()
    _synchronise(trainer.device)
    return timed / (time.perf_counter() - started)


@contextmanager
def noting_cost(trainer: TrainingLoop, folder: Path) -> Iterator[None]:
    """Adds what is spent inside the block to ``cost.json``, also where it is interrupted."""
    path, begun, started = folder / COST, trainer.state.step, time.perf_counter()
    earlier = {"steps": 0, "seconds": 0.0}
    if begun and path.is_file():
        earlier = json.loads(path.read_text())
    try:
        yield
    finally:
        steps = earlier["steps"] + trainer.state.step - begun
        cost = {
            "loss": trainer.loss_name,
            "steps": steps,
            "windows": steps * trainer.config.batch_size,
            "frames_per_window": trainer.config.length,
            "seconds": round(earlier["seconds"] + time.perf_counter() - started, 1),
            "hardware": describe_hardware(trainer.device),
        }
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(cost, indent=1) + "\n")


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
