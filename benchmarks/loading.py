"""``nfd bench loading``: whether training ever waits for its data.

The windows of a training step are cut out of the decoded frames, as training does it, and the step
itself is taken; both are timed in turns. Loading that is five times faster than what uses it up
costs training no more than a fifth of a step even where nothing is done in parallel.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from rich.console import Console

from benchmarks.progress import counting
from benchmarks.results import describe_data, machine_line, write_benchmark
from world_model.data import open_store
from world_model.errors import ConfigError
from world_model.presets import get_preset, with_frame_shape
from world_model.training.adaptation import OutcomeSettings
from world_model.training.pipeline import Stages


@dataclass(frozen=True)
class LoadingOptions:
    """Times loading and training in turns."""

    preset: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Architecture and training settings, as of nfd train."""
    data: Path | None = None
    """Folder of the data set (default: data/PRESET)."""
    batch_size: int | None = None
    """Windows per step (default: the preset's)."""
    rounds: int = 5
    """Training steps that are timed, each after as many loads."""
    loads: int = 20
    """Batches that are loaded per training step."""
    device: str = "cpu"
    """Where to train."""
    out: Path = Path("runs/bench/loading.json")
    """File for the results."""


def run(options: LoadingOptions, console: Console) -> dict[str, Any]:
    """Times, writes ``options.out``, and returns the results.

    Raises:
        ConfigError: if the preset is unknown, or a number is below 1.
        DataError: if the data set is missing, damaged or too small.
    """
    if min(options.rounds, options.loads) < 1:
        raise ConfigError("rounds and loads must be at least 1.")
    started = time.perf_counter()
    try:
        preset = get_preset(options.preset)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    store = open_store(options.data or Path("data") / options.preset)
    opened = time.perf_counter() - started
    preset = with_frame_shape(preset, store.frame_shape)
    train = replace(
        preset.train, batch_size=options.batch_size or preset.train.batch_size, sample_every=0
    )
    with TemporaryDirectory() as folder:
        stages = Stages(
            store, preset, Path(folder), options.preset, train, OutcomeSettings(), options.device
        )
        trainer = stages.trainer()
        trainer.train_step()  # the first one allocates
        loading, training = [], []
        with counting(console, "steps", options.rounds) as tell:
            for turn in range(options.rounds):
                # Steps far ahead: batches that nothing has touched yet.
                first = 1_000 + turn * options.loads
                begin = time.perf_counter()
                for step in range(first, first + options.loads):
                    trainer.load(step)
                loading.append((time.perf_counter() - begin) / options.loads)
                begin = time.perf_counter()
                trainer.train_step()
                if trainer.device.type == "cuda":
                    torch.cuda.synchronize(trainer.device)
                training.append(time.perf_counter() - begin)
                tell(1)
    size = train.batch_size
    load, step_seconds = float(np.median(loading)), float(np.median(training))
    results = {
        "windows_per_second_loaded": size / load,
        "windows_per_second_trained": size / step_seconds,
        "ratio": step_seconds / load,
        "load_ms": 1e3 * load,
        "step_ms": 1e3 * step_seconds,
        "frames": store.num_frames,
        "frame_shape": list(store.frame_shape),
        "window": train.length,
        "open_seconds": opened,
    }
    document = write_benchmark(
        options.out,
        "loading",
        world=None,
        data=describe_data(store, "train"),
        settings={k: v for k, v in asdict(options).items() if k not in ("data", "out")},
        results=results,
        seconds=time.perf_counter() - started,
    )
    console.print(
        f"loads {results['windows_per_second_loaded']:,.0f} windows/s, trains on "
        f"{results['windows_per_second_trained']:,.1f}: {results['ratio']:.0f} times as fast "
        f"({size} windows of {train.length} frames a step).\n{machine_line()}\n"
        f"results: {options.out}"
    )
    return document


def main(argv: list[str]) -> int:
    """Entry point of ``nfd bench loading``."""
    run(tyro.cli(LoadingOptions, args=argv, prog="nfd bench loading"), Console())
    return 0
