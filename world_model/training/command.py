"""``nfd train``: recorded episodes in, a world out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from world_model.autoencoder.storage import load_tokenizer
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.data import EpisodeStore, open_store
from world_model.errors import ConfigError
from world_model.moments import cut_moments
from world_model.presets import (
    PRESETS,
    WorldPreset,
    get_preset,
    with_autoencoder,
    with_frame_shape,
)
from world_model.tokenizer import PixelPatchConfig
from world_model.training.adaptation import OutcomeSettings
from world_model.training.console import (
    adapt_with_progress,
    clear_errors,
    console,
    learn_with_progress,
    open_data,
    run_to_the_end,
    train_with_progress,
)
from world_model.training.log import Log
from world_model.training.pipeline import Stages
from world_model.training.processes import (
    advice,
    find_device,
    is_first,
    join_processes,
    leave_processes,
)
from world_model.training.samples import sample_world
from world_model.training.tokens import cached_tokens
from world_model.training.trainer import Trainer
from world_model.world import World

LARGEST_FOR_PATCHES = 128
"""Pixels along a side up to which pixel patches are a good choice for every preset."""


@dataclass(frozen=True)
class TrainCommand:
    """Trains a world on recorded episodes; start it again to go on after an interruption."""

    preset: Annotated[str, tyro.conf.Positional]
    """Architecture and defaults: a game that `nfd collect` knows, such as doom-take-cover;
    small-game for any other; nfd-130m, nfd-310m, nfd-774m, tiny."""
    data: Path | None = None
    """Folder of the data set (default: data/PRESET)."""
    out: Path | None = None
    """Folder of the run (default: runs/PRESET); the world ends up in its folder ``world``."""
    frame_size: tuple[int, int] | None = None
    """Height and width of frames to learn; recorded ones are resized (default: as recorded)."""
    name: str | None = None
    """Name of the world (default: the preset's)."""
    tokenizer: Path | None = None
    """Autoencoder whose latents are the tokens, made by nfd tokenizer: a folder (default: pixel
    patches, or the tokenizer of the world to begin with)."""
    cache_tokens: bool = False
    """With an autoencoder: encodes every frame once, into the cache of the data set (2 bytes a
    number, 11 kB a frame at 384x224), instead of at every step. Several processes must share the
    disk that the data set is on."""
    start_from: str | None = None
    """World to begin with, instead of fresh weights: a name, a folder or a hub id."""
    steps: int | None = None
    """Optimiser steps of the transformer."""
    batch_size: int | None = None
    """Windows per step."""
    length: int | None = None
    """Frames per window."""
    learning_rate: float | None = None
    """Peak learning rate."""
    object_weights: tuple[float, ...] | None = None
    """Extra loss weight near objects, one number per class of the data's labels; no numbers for
    data without labels (default: the preset's)."""
    precision: str = "auto"
    """auto, float32 or bfloat16."""
    compile: bool = False
    """Compile the network (a minute or two at the start; needs a C++ compiler on a CPU)."""
    graphs: bool = True
    """On a GPU, replay steps as one CUDA graph (not with --compile or several processes)."""
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


def run(command: TrainCommand) -> Path:
    """Trains every stage that is not done yet; returns the folder of the world.

    Raises:
        ConfigError: if a setting is unknown or out of range, or does not fit the data.
        DataError: if the data set is missing, damaged or too small.
        CheckpointError: if the folder holds a damaged checkpoint, or one of another run.
        DivergenceError: if the training diverges.
        StorageError: if the disk is full.
    """
    with clear_errors():
        preset = get_preset(command.preset)
        device = find_device(command.device)
    distributed = join_processes(device)
    if (hint := advice()) is not None:
        console.print(hint)
    finished = False
    try:
        opener = partial(open_store, frame_size=command.frame_size)
        store = open_data(command.data or Path("data") / command.preset, opener)
        with clear_errors():
            stages = _plan(command, preset, store, device)
        stages.check()
        if command.cache_tokens:
            stages.tokens = cached_tokens(
                store, stages.tokenizer(), device=device, precision=command.precision
            )
        trainer = stages.trainer()
        train_with_progress(
            trainer, stages.folder, lambda log, step: _sample(stages, trainer, log, step)
        )
        finished = True
    finally:
        if distributed:
            leave_processes(together=finished)
    if not is_first():
        return stages.folder / "world"
    return _finish(stages, trainer, half=command.half)


def main(argv: list[str]) -> int:
    """Entry point of ``nfd train``."""
    command = tyro.cli(TrainCommand, args=argv, prog="nfd train", description=_describe())
    return run_to_the_end(lambda: run(command))


def _plan(
    command: TrainCommand, preset: WorldPreset, store: EpisodeStore, device: torch.device
) -> Stages:
    """The command's own settings over those of the preset."""
    start_from = None if command.start_from is None else World.from_pretrained(command.start_from)
    tokenizer = _find_autoencoder(command, preset, store, start_from)
    if tokenizer is None:
        PixelPatchConfig(store.frame_shape, preset.patch_size)  # refuses what no patch divides
        preset = with_frame_shape(preset, store.frame_shape)
    else:
        preset = with_autoencoder(preset, tokenizer.config)
    if command.object_weights is not None:
        flow = replace(preset.flow, object_weights=command.object_weights)
        preset = replace(preset, flow=flow)
    names = ("steps", "batch_size", "length", "learning_rate", "save_every", "sample_every")
    given: dict[str, Any] = {name: getattr(command, name) for name in names}
    train = replace(
        preset.train,
        **{name: value for name, value in given.items() if value is not None},
        precision=command.precision,
        compile=command.compile,
        graphs=command.graphs,
        seed=command.seed,
    )
    return Stages(
        store,
        preset,
        command.out or Path("runs") / command.preset,
        command.name or command.preset,
        train,
        command.outcome,
        device,
        start_from,
        tokenizer,
    )


def _find_autoencoder(
    command: TrainCommand, preset: WorldPreset, store: EpisodeStore, start_from: World | None
) -> AutoencoderTokenizer | None:
    """The autoencoder that is given, or that of the world to begin with; None: pixel patches.

    Raises:
        ConfigError: if there is none where the preset needs one, or it does not fit.
    """
    height, width, _ = store.frame_shape
    data = command.data or Path("data") / command.preset
    if start_from is not None:
        if command.tokenizer is not None:
            raise ConfigError(
                f"{start_from.model_id} has a tokenizer of its own, which its weights know: leave "
                "--tokenizer or --start-from out."
            )
        begun = start_from.tokenizer
        tokenizer = begun if isinstance(begun, AutoencoderTokenizer) else None
    elif command.tokenizer is not None:
        tokenizer = load_tokenizer(command.tokenizer)
    else:
        if preset.autoencoder and max(height, width) > LARGEST_FOR_PATCHES:
            raise ConfigError(
                f"the preset {command.preset} wants an autoencoder for frames of {width}x{height}: "
                f"pixels are too many above {LARGEST_FOR_PATCHES} a side. Train one with 'nfd "
                f"tokenizer {data} --out runs/tokenizer', then add '--tokenizer runs/tokenizer'."
            )
        return None
    if tokenizer is not None and tokenizer.config.frame_shape != tuple(store.frame_shape):
        known_height, known_width, _ = tokenizer.config.frame_shape
        raise ConfigError(
            f"the tokenizer is for frames of {known_width}x{known_height}, but those of "
            f"{store.root} are {width}x{height}. Train one on these data: 'nfd tokenizer {data}'."
        )
    return tokenizer


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
    where: dict[str, Any] = {"device": stages.device, "precision": stages.train.precision}
    outcome = None
    if stages.outcome.steps:
        outcome = learn_with_progress(stages.store, stages.outcome, stages.folder, **where)
    world = stages.world(trainer, outcome)
    if outcome is not None:
        adapt_with_progress(world, stages.store, stages.outcome, stages.folder, **where)
    count, length = stages.outcome.moments, world.config.context_length
    world.moments = cut_moments(stages.store, outcome, count, length)
    dtype = torch.float16 if half else torch.float32
    return world.save_pretrained(stages.folder / "world", dtype=dtype)


def _describe() -> str:
    return f"{TrainCommand.__doc__} Presets: {', '.join(PRESETS)}."
