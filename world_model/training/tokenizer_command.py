"""``nfd tokenizer``: recorded frames in, an autoencoder for them out."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table

from world_model.autoencoder.config import AutoencoderConfig
from world_model.autoencoder.latents import frames_of, scaled
from world_model.autoencoder.losses import LossConfig
from world_model.autoencoder.perceptual import PerceptualDistance
from world_model.autoencoder.report import SHOWN, TokenizerReport, measure, write_comparison
from world_model.autoencoder.storage import save_tokenizer
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.autoencoder.trainer import AutoencoderTrainer
from world_model.data import EpisodeStore, open_store
from world_model.errors import ConfigError, DataError
from world_model.storage import atomic_file
from world_model.training.config import TrainConfig
from world_model.training.console import (
    clear_errors,
    console,
    open_data,
    run_to_the_end,
    train_with_progress,
)
from world_model.training.cost import noting_cost, steps_that_fit
from world_model.training.log import Log
from world_model.training.pipeline import STATISTICS_FRAMES, describe_hardware
from world_model.training.processes import find_device, is_first, join_processes, leave_processes

SAMPLED_FRAMES = 64
"""Held-out frames that are measured on the way."""


@dataclass(frozen=True)
class TokenizerCommand:
    """Trains an autoencoder for frames above 128 pixels; start it again to go on."""

    data: Annotated[Path, tyro.conf.Positional]
    """Folder of the data set."""
    out: Path | None = None
    """Folder of the run (default: runs/tokenizer-NAME, by the data set's folder); the autoencoder
    ends up in its folder ``tokenizer``, beside ``report.json`` and ``report.png``."""
    frame_size: tuple[int, int] | None = None
    """Height and width of frames to learn; recorded ones are resized (default: as recorded)."""
    downsampling: Literal[8, 16] = 16
    """Pixels along a latent's side; 16 is the paper's."""
    latent_channels: int = 16
    """Numbers per latent."""
    patch_size: int = 2
    """Latents along a token's side."""
    width: int = 128
    """Channels of the finest level; 128 is the paper's, 32 is 16 times cheaper."""
    blocks: int = 2
    """Residual blocks of each level of the encoder; the decoder has one more."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the loss."""
    perceptual: Path | None = None
    """Perceptual network that judges details: VGG16 with LPIPS' weights as one safetensors file
    (world_model/autoencoder/perceptual.py says how to make it). Without one, details are compared
    at several resolutions."""
    steps: int = 100_000
    """Optimiser steps."""
    minutes: float | None = None
    """Takes as many optimiser steps as fit into so much time, instead of --steps."""
    batch_size: int = 16
    """Frames per step."""
    learning_rate: float = 1e-4
    """Peak learning rate."""
    precision: str = "auto"
    """auto, float32 or bfloat16."""
    compile: bool = False
    """Compile the networks (a minute or two at the start; needs a C++ compiler on a CPU)."""
    seed: int = 0
    """Seed of everything that is drawn."""
    save_every: int = 500
    """Steps between checkpoints."""
    sample_every: int = 2000
    """Steps between comparisons of held-out frames (0: never)."""
    report_frames: int = 1000
    """Held-out frames that the report measures."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""


def run(command: TokenizerCommand) -> Path:
    """Trains, estimates the scale of the latents, measures; returns the tokenizer's folder.

    Raises:
        ConfigError: if a setting is out of range, or does not fit the data.
        DataError: if the data set is missing, damaged or has no held-out episode.
        CheckpointError: if the folder holds a damaged checkpoint, or one of another run.
        DivergenceError: if the training diverges.
        StorageError: if the disk is full.
    """
    perceptual = None
    with clear_errors():
        device = find_device(command.device)
        train = TrainConfig(
            steps=command.steps,
            batch_size=command.batch_size,
            length=1,
            learning_rate=command.learning_rate,
            weight_decay=0.0,
            optimizer="adamw",
            precision=command.precision,
            compile=command.compile,
            seed=command.seed,
            save_every=command.save_every,
            sample_every=command.sample_every,
        )
        if command.perceptual is not None:
            perceptual = PerceptualDistance.from_file(command.perceptual)
    folder = command.out or Path("runs") / f"tokenizer-{command.data.resolve().name}"
    distributed = join_processes(device)
    finished = False
    try:
        opener = partial(open_store, frame_size=command.frame_size)
        store = open_data(command.data, opener)
        if not len(store.split("validation")):
            raise DataError(
                f"{store.root} has no held-out episode to measure the tokenizer on. Record more."
            )
        with clear_errors():
            config = AutoencoderConfig(
                frame_shape=store.frame_shape,
                downsampling=command.downsampling,
                latent_channels=command.latent_channels,
                patch_size=command.patch_size,
                width=command.width,
                blocks=command.blocks,
            )
        trainer = AutoencoderTrainer(store, config, command.loss, train, folder, device, perceptual)
        if command.minutes is not None and distributed:
            raise ConfigError("--minutes is for one process: give --steps.")
        with noting_cost(trainer, folder) if is_first() else nullcontext():
            if command.minutes is not None:
                trainer.config = replace(train, steps=steps_that_fit(trainer, command.minutes))
            train_with_progress(
                trainer,
                folder,
                lambda log, step: _sample(trainer, store, folder, log, step),
                "autoencoder",
            )
        finished = True
    finally:
        if distributed:
            leave_processes(together=finished)
    if is_first():
        _finish(trainer, store, command, folder)
    return folder / "tokenizer"


def main(argv: list[str]) -> int:
    """Entry point of ``nfd tokenizer``."""
    command = tyro.cli(
        TokenizerCommand, args=argv, prog="nfd tokenizer", description=TokenizerCommand.__doc__
    )
    return run_to_the_end(lambda: run(command))


def table(report: TokenizerReport) -> Table:
    """The report for a reader."""
    result = Table(title="held-out frames", title_justify="left", box=SIMPLE_HEAD)
    result.add_column("measure")
    result.add_column("value", justify="right")
    rows = {
        "frames": f"{report.frames}",
        "PSNR, dB": f"{report.psnr:.2f}",
        "PSNR of the worst frame, dB": f"{report.psnr_worst:.2f}",
        "SSIM": f"{report.ssim:.4f}",
        "absolute error, of 255": f"{report.absolute_error:.2f}",
        "bits a number of the latents": f"{report.bits_per_number:.2f}",
        "kilobits a frame": f"{report.bits_per_frame / 1000:.1f}",
        "pixel numbers for one of the latents": f"{report.pixels_per_number:.0f}",
        "mean and deviation of tokens": f"{report.token_mean:.3f}, {report.token_std:.3f}",
        "smallest deviation of a channel": f"{min(report.channel_std):.3f}",
    }
    for row in rows.items():
        result.add_row(*row)
    return result


def _scaled(trainer: AutoencoderTrainer, store: EpisodeStore, count: int) -> AutoencoderTokenizer:
    return scaled(trainer.averaged(), frames_of(store, "train", count))


def _sample(
    trainer: AutoencoderTrainer, store: EpisodeStore, folder: Path, log: Log, step: int
) -> None:
    tokenizer = _scaled(trainer, store, SAMPLED_FRAMES)
    report = measure(tokenizer, frames_of(store, "validation", SAMPLED_FRAMES))
    picture = folder / "samples" / f"step-{step:07d}.png"
    write_comparison(picture, tokenizer, next(frames_of(store, "validation", SHOWN)))
    log.write(step, psnr=report.psnr, ssim=report.ssim, bits_per_number=report.bits_per_number)
    console.print(f"step {step}: PSNR {report.psnr:.2f} dB, SSIM {report.ssim:.4f}  ({picture})")


def _finish(
    trainer: AutoencoderTrainer, store: EpisodeStore, command: TokenizerCommand, folder: Path
) -> None:
    """The folder of the tokenizer, and the report."""
    tokenizer = _scaled(trainer, store, STATISTICS_FRAMES)
    report = measure(tokenizer, frames_of(store, "validation", command.report_frames))
    trained = {
        "data": store.content_hash,
        "source": store.source,
        "steps": trainer.state.step,
        "batch_size": command.batch_size,
        "loss": asdict(command.loss),
        "perceptual": command.perceptual is not None,
        "hardware": describe_hardware(trainer.device),
    }
    save_tokenizer(tokenizer, folder / "tokenizer", trained)
    with atomic_file(folder / "report.json") as path:
        path.write_text(json.dumps({"trained": trained, "held_out": asdict(report)}, indent=1))
    write_comparison(folder / "report.png", tokenizer, next(frames_of(store, "validation", SHOWN)))
    console.print(table(report))
