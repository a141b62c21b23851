"""Trains a bundled world, or distils one, on a machine with a GPU, within a fixed time.

Records the data on the spot, times a few steps, chooses as many as fit, trains transformer and
outcome model, and leaves everything in a few files of limited size: ``world.tar``, and the pieces
of ``resume.tar``, from which the next run goes on. The recording repeats itself exactly (same
seed), so it need not be kept.
"""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from safetensors.torch import load_file

from benchmarks.pieces import join_pieces, split_file
from world_model.data import open_store
from world_model.errors import CheckpointError
from world_model.moments import cut_moments
from world_model.presets import get_preset, with_frame_shape
from world_model.storage import save_tensors
from world_model.training.adaptation import OutcomeSettings, adapt_outcome, learn_outcome
from world_model.training.cost import steps_per_second
from world_model.training.distill import few_step_flow
from world_model.training.pipeline import Stages
from world_model.world import World

TIMED_STEPS = 40
"""Steps that the rate is measured on, after half as many to warm up."""


@dataclass(frozen=True)
class GpuTrainOptions:
    """Records, trains and packs a world within a fixed time."""

    out: Path
    """Folder for the results, and nothing else."""
    preset: str = "doom-take-cover"
    """World to train."""
    distill: str | None = None
    """Begins with this world instead of fresh weights, and teaches it to sample in two steps."""
    start_from: str | None = None
    """Begins with this world's weights, or those of the teacher that it keeps, instead of fresh
    ones, and goes on to sample in many steps."""
    minutes: float = 9.0
    """Everything together, recording and packing included."""
    frames: int = 300_000
    """Frames to record."""
    processes: int = 16
    """Games side by side."""
    batch_size: int = 64
    """Windows per step."""
    learning_rate: float | None = None
    """Peak learning rate (default: the preset's)."""
    outcome_steps: int = 1_200
    """Steps of the outcome model."""
    outcome_width: int = 256
    """Width of the outcome model."""
    outcome_horizon: int = 16
    """Imagined frames per sequence that the outcome model is adapted on."""
    finetune_steps: int = 100
    """Steps of that adaptation."""
    only_outcome: bool = False
    """Learns the outcome model alone, for a later call with the same ``work``."""
    outcome_minutes: float = 1.5
    """Time that is set aside for outcome model, calibration and packing."""
    compile: bool = False
    """Compile the network."""
    graphs: bool = True
    """Replay training steps as CUDA graphs; only without ``compile``."""
    work: Path = Path("runs/gpu-train")
    """Folder for what need not be kept."""
    data: Path | None = None
    """Folder of a data set that was recorded before (default: records one)."""
    resume: Path | None = None
    """Folder with the pieces of an earlier run's resume.tar, to go on from."""
    piece_mb: float = 15.5
    """Largest file that is left, in MB of 2**20 bytes."""
    seed: int = 0
    """Of recording and training."""
    device: str = "cuda"
    """Where to train."""


def run(
    options: GpuTrainOptions,
    console: Console,
    record: Callable[[GpuTrainOptions, Path], None] | None = None,
) -> dict[str, Any]:
    """Everything; returns the summary that ``out/summary.json`` holds.

    Args:
        options: what to train, and how long.
        console: for progress.
        record: makes the data set in a folder; default: :func:`record_game`.

    Raises:
        NFDError: if the game, the data or the checkpoint to go on from are not as they should be.
    """
    started = time.perf_counter()

    def left() -> float:
        """Seconds until the transformer must be done."""
        whole = 60 * (options.minutes - options.outcome_minutes)
        return whole - (time.perf_counter() - started)

    options.out.mkdir(parents=True, exist_ok=True)
    data, run_folder = options.data or options.work / "data", options.work / "run"
    if options.resume is not None:
        unpack_resume(options.resume, run_folder)
    if options.data is None:
        (record or record_game)(options, data)
    store = open_store(data)
    recorded = time.perf_counter() - started
    console.print(f"{store.num_frames} frames recorded and decoded after {recorded:.0f} s")

    if options.only_outcome:
        settings = outcome_settings(options)
        learn_outcome(store, settings, run_folder, device=options.device)
        seconds = time.perf_counter() - started
        console.print(f"outcome model learned after {seconds:.0f} s")
        return {"outcome_steps": settings.steps, "seconds": seconds}
    stages = plan(options, store, run_folder, steps=1_000_000)
    rate = measure_rate(stages)
    stages = plan(options, store, run_folder, steps=1)
    done = stages.trainer().state.step
    steps = done + max(1, int(0.93 * rate * left()))
    stages = plan(options, store, run_folder, steps=steps)
    console.print(f"{rate:.1f} steps/s: training from step {done} to {steps}")
    trainer, loss = stages.trainer(), float("nan")
    reports = trainer.run()
    for report in reports:
        loss = report.loss if loss != loss else 0.98 * loss + 0.02 * report.loss
        if report.step % 500 == 0:
            console.print(f"step {report.step}: loss {loss:.4f}, {left():.0f} s left")
        if left() < 0:
            break
    reports.close()  # saves
    pack_resume(run_folder / "checkpoint", options.out, options.piece_mb)

    outcome = None
    if options.outcome_steps:
        outcome = learn_outcome(store, stages.outcome, run_folder, device=stages.device)
    world = stages.world(trainer, outcome)
    pack_world(world, options)  # in case there is no time for the rest
    if outcome is not None:
        adapt_outcome(world, store, stages.outcome, device=stages.device)
    world.moments = cut_moments(
        store, world.outcome, stages.outcome.moments, world.config.context_length
    )
    pack_world(world, options)
    summary = {
        "world": world.model_id,
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()},
        "frames": store.num_frames,
        "steps": trainer.state.step,
        "steps_per_second": rate,
        "loss": loss,
        "recording_seconds": recorded,
        "seconds": time.perf_counter() - started,
        "hardware": world.config.hardware,
        "torch": torch.__version__,
    }
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    console.print(f"{world.model_id} after {summary['seconds']:.0f} s; files in {options.out}")
    return summary


def record_game(options: GpuTrainOptions, folder: Path) -> None:
    """Records the real game; goes on where an interrupted recording stopped."""
    from agents.collecting.command import CollectConfig
    from agents.collecting.command import run as collect

    collect(
        CollectConfig(
            environment=options.preset,
            steps=options.frames,
            out=folder,
            processes=options.processes,
            seed=options.seed,
        )
    )


def plan(options: GpuTrainOptions, store: Any, folder: Path, steps: int) -> Stages:
    """The stages of the training for a number of steps in all."""
    preset = with_frame_shape(get_preset(options.preset), store.frame_shape)
    world = None
    if options.start_from is not None:
        world = World.from_pretrained(options.start_from)
        world = world if world.teacher is None else world.many_step()
    if options.distill is not None:
        world = World.from_pretrained(options.distill)
        preset = replace(
            preset,
            network=world.network.config,
            flow=few_step_flow(world, store),
            sampler="consistency",
            sampling_steps=2,
            sampling_shift=1.0,
            context_length=world.config.context_length,
            context_noise=world.config.context_noise,
        )
    train = replace(
        preset.train,
        steps=steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate or preset.train.learning_rate,
        compile=options.compile,
        graphs=options.graphs,
        seed=options.seed,
        save_every=1_000_000,  # once, at the end
        sample_every=0,
    )
    outcome = outcome_settings(options)
    return Stages(store, preset, folder, options.preset, train, outcome, options.device, world)


def outcome_settings(options: GpuTrainOptions) -> OutcomeSettings:
    """How much the outcome model is trained, and how wide it is."""
    return OutcomeSettings(
        width=options.outcome_width,
        steps=options.outcome_steps,
        horizon=options.outcome_horizon,
        finetune_steps=options.finetune_steps,
    )


def pack_world(world: World, options: GpuTrainOptions) -> None:
    """Leaves the world as ``world.tar``."""
    folder = world.save_pretrained(options.work / "world", dtype=torch.float16)
    with tarfile.open(options.out / "world.tar", "w") as archive:
        archive.add(folder, arcname="world")
    split_file(options.out / "world.tar", options.piece_mb)


def measure_rate(stages: Stages) -> float:
    """Steps per second, measured in a folder of its own."""
    trial = replace(stages, folder=stages.folder.with_name("trial"))
    return steps_per_second(trial.trainer(), TIMED_STEPS // 2, TIMED_STEPS)


def pack_resume(checkpoint: Path, out: Path, piece_mb: float) -> list[Path]:
    """The checkpoint in pieces of one archive; the optimiser's moments in bfloat16, to be small."""
    slim = checkpoint.with_name("slim")
    slim.mkdir(exist_ok=True)
    for name in ("model.safetensors", "ema.safetensors", "method.safetensors"):
        if (checkpoint / name).exists():
            save_tensors(load_file(checkpoint / name), slim / name)
    moments = load_file(checkpoint / "optimizer.safetensors")
    halved = {
        key: value.to(torch.bfloat16) if value.ndim else value for key, value in moments.items()
    }
    save_tensors(halved, slim / "optimizer.safetensors")
    (slim / "training.json").write_text((checkpoint / "training.json").read_text())
    with tarfile.open(out / "resume.tar", "w") as archive:
        archive.add(slim, arcname="checkpoint")
    return split_file(out / "resume.tar", piece_mb)


def unpack_resume(pieces: Path, run_folder: Path) -> None:
    """Puts the checkpoint of an earlier run where training looks for it.

    Raises:
        CheckpointError: if the pieces are not there, or do not make a whole.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    archive = run_folder / "resume.tar"
    try:
        join_pieces(pieces, "resume.tar", archive)
        with tarfile.open(archive) as opened:
            opened.extractall(run_folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise CheckpointError(
            f"{pieces} holds no whole resume.tar ({error}). Bring all of its pieces."
        ) from error
    finally:
        archive.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m benchmarks.gpu_train``."""
    run(tyro.cli(GpuTrainOptions, args=argv), Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
