"""From recorded episodes to a world: transformer, outcome model, calibration, contexts.

Every stage leaves a checkpoint and is continued, or skipped, when the run is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from world_model.contexts import ContextSet
from world_model.data import EpisodeStore
from world_model.errors import DataError
from world_model.imagining import imagined_sequences
from world_model.outcome import OutcomeModel
from world_model.outcome_calibration import (
    CalibrationReport,
    GeneratedSequence,
    calibrate_outcome,
    finetune_outcome,
)
from world_model.outcome_data import check_splits
from world_model.outcome_training import (
    OutcomeProgress,
    OutcomeTraining,
    outcome_config,
    train_outcome,
)
from world_model.precision import choose_precision
from world_model.presets import WorldPreset
from world_model.rollout import Rollout
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.training.config import TrainConfig
from world_model.training.trainer import Trainer
from world_model.world import World
from world_model.world_config import WorldConfig

STATISTICS_FRAMES = 2_000
"""Frames, spread evenly over the data, that the pixel statistics are taken from."""

FINETUNE_LEARNING_RATE = 2e-4
"""Peak learning rate on imagined frames: a fifth of the first training's."""


@dataclass(frozen=True)
class OutcomeSettings:
    """How much the outcome model is trained."""

    steps: int = 1_200
    """Steps on real sequences (0: a world without rewards and terminations)."""
    finetune_steps: int = 100
    """Steps on imagined frames beside real ones."""
    calibration_batches: int = 25
    """Batches of imagined, held-out sequences that the termination head is calibrated on."""
    horizon: int = 16
    """Imagined frames per sequence."""
    batch: int = 24
    """Sequences per step."""
    state_names: tuple[str, ...] | None = None
    """What of the real environment's state the memory is taught; None: ``health`` if recorded."""
    contexts: int = 64
    """Clips that start episodes."""


@dataclass
class Stages:
    """Everything a run needs to know; built once by the command."""

    store: EpisodeStore
    """Recorded episodes."""
    preset: WorldPreset
    """Architecture and defaults."""
    folder: Path
    """Folder of the run."""
    name: str
    """Name of the world."""
    train: TrainConfig
    """Length and speed of the transformer's training."""
    outcome: OutcomeSettings = field(default_factory=OutcomeSettings)
    """Length of the outcome model's training."""
    device: torch.device | str = "cpu"
    """Where to train."""
    start_from: World | None = None
    """A world whose transformer's weights to begin with, or None."""

    def tokenizer(self) -> PixelPatchTokenizer:
        """Pixel patches, scaled by the statistics of the data."""
        frames = self.store.frames[:: max(1, self.store.num_frames // STATISTICS_FRAMES)]
        pixels = np.asarray(frames, np.float64).reshape(-1, frames.shape[-1])
        mean = pixels.mean(axis=0)
        # Rounded, so that the numbers in the config are the numbers used.
        return PixelPatchTokenizer(
            PixelPatchConfig(
                frame_shape=self.store.frame_shape,
                patch_size=self.preset.patch_size,
                mean=tuple(round(float(m), 1) for m in mean),
                std=max(1.0, round(float((pixels - mean).std()), 1)),
            )
        )

    def trainer(self) -> Trainer:
        """Trains the transformer, continuing from a checkpoint if there is one."""
        return Trainer(
            self.store,
            self.tokenizer(),
            self.preset.network,
            self.preset.flow,
            self.train,
            self.folder,
            self.device,
            self.start_from,
        )

    def check(self) -> None:
        """Raises at once what would otherwise stop a run only at its end.

        Raises:
            DataError: if the data set is too small for one of the stages.
        """
        self.contexts()
        if self.outcome.steps:
            check_splits(self.store)

    def contexts(self) -> ContextSet:
        """Clips that start episodes; fewer than wished for where the data set is small.

        Raises:
            DataError: if no episode has enough frames.
        """
        store, length = self.store, self.preset.context_length
        fitting = int((store.lengths[store.split("train")] >= length).sum())
        if not fitting:
            raise DataError(
                f"no training episode of {store.root} has the {length} frames that start an "
                "imagined one. Record longer episodes."
            )
        count = min(self.outcome.contexts, fitting)
        return ContextSet.from_store(store, "train", count, length, seed=0)

    def world(self, trainer: Trainer, outcome: OutcomeModel | None = None) -> World:
        """The world as it stands, with the averaged weights."""
        preset, store = self.preset, self.store
        world = World(
            config=WorldConfig(
                name=self.name,
                frame_shape=store.frame_shape,
                fps=store.fps,
                context_length=preset.context_length,
                context_noise=preset.context_noise,
                sampler=preset.sampler,
                sampling_steps=preset.sampling_steps,
                sampling_shift=preset.sampling_shift,
                max_episode_steps=store.source.get("max_episode_steps"),
                source=dict(store.source),
                hardware=describe_hardware(self.device),
            ),
            action_spec=store.action_spec,
            tokenizer=self.tokenizer(),
            network=trainer.averaged_network(),
            flow=preset.flow,
            outcome=outcome,
            contexts=self.contexts(),
        )
        return world.to(self.device)

    def train_outcome(self, on_progress: Callable[[OutcomeProgress], None]) -> OutcomeModel:
        """Trains the outcome model on real sequences."""
        names = self.outcome.state_names
        if names is None:
            names = tuple(n for n in self.store.state_names if n == "health")
        return train_outcome(
            self.store,
            self.store.action_spec,
            outcome_config(self.store, state_names=names),
            steps=self.outcome.steps,
            batch=self.outcome.batch,
            training=OutcomeTraining(autocast=self._fast_bfloat16()),
            checkpoint_dir=self.folder / "outcome",
            on_progress=on_progress,
            device=self.device,
        )

    def _fast_bfloat16(self) -> bool:
        return choose_precision(self.train.precision, self.device) == torch.bfloat16

    def adapt_outcome(
        self, world: World, on_progress: Callable[[OutcomeProgress], None]
    ) -> CalibrationReport:
        """Fine-tunes and calibrates the world's outcome model on what the world imagines.

        Raises:
            DataError: if there is nothing to calibrate on, such as when no episode terminates.
        """
        assert world.outcome is not None
        rollout = Rollout(
            replace(world, outcome=None),  # frames alone are faster to imagine
            device=self.device,
            termination_mode="never",
            precision=self.train.precision,
        )
        settings = self.outcome

        def sequences(split: str, seed: int) -> Iterator[list[GeneratedSequence]]:
            return imagined_sequences(
                rollout,
                self.store,
                split,
                horizon=settings.horizon,
                batch=settings.batch,
                seed=seed,
            )

        if settings.finetune_steps:
            finetune_outcome(
                world.outcome,
                self.store,
                sequences("train", 1),
                steps=settings.finetune_steps,
                batch=settings.batch,
                training=OutcomeTraining(
                    learning_rate=FINETUNE_LEARNING_RATE, autocast=self._fast_bfloat16()
                ),
                on_progress=on_progress,
            )
        held_out = islice(sequences("validation", 2), settings.calibration_batches)
        return calibrate_outcome(world.outcome, held_out)


def describe_hardware(device: torch.device | str) -> str:
    """The processor or GPU in words."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"
