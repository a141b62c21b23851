"""From recorded episodes to a world: transformer, outcome model, calibration, contexts.

Every stage leaves a checkpoint and is continued, or skipped, when the run is started again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.contexts import ContextSet, clips_that_fit
from world_model.data import EpisodeStore
from world_model.data.statistics import PixelCounts
from world_model.distillation.methods import make_method
from world_model.errors import DataError
from world_model.outcome import OutcomeModel
from world_model.outcome_data import check_splits
from world_model.presets import WorldPreset
from world_model.tokenizer import FrameTokenizer, PixelPatchConfig, PixelPatchTokenizer
from world_model.training.adaptation import OutcomeSettings
from world_model.training.config import TrainConfig
from world_model.training.trainer import Trainer
from world_model.world import World
from world_model.world_config import WorldConfig

STATISTICS_FRAMES = 2_000
"""Frames, spread evenly over the data, that the pixel statistics are taken from."""


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
    trained_tokenizer: AutoencoderTokenizer | None = None
    """The autoencoder whose latents are the tokens; None: pixel patches."""
    tokens: np.ndarray | None = None
    """All frames of the store, encoded by it before (:mod:`world_model.autoencoder.cache`); None:
    they are encoded when they are needed."""

    def tokenizer(self) -> FrameTokenizer:
        """What the weights to begin with know, the autoencoder given, or pixel patches.

        Patches are scaled by the statistics of the data.
        """
        if self.start_from is not None:
            return self.start_from.tokenizer
        if self.trained_tokenizer is not None:
            return self.trained_tokenizer
        frames = self.store.frames[:: max(1, self.store.num_frames // STATISTICS_FRAMES)]
        counts = PixelCounts()
        for first in range(0, len(frames), 64):  # large frames: never all in memory
            counts.add(frames[first : first + 64])
        shares, levels = counts.counts / counts.counts[0].sum(), np.arange(256)
        mean = shares @ levels
        std = float(np.sqrt((shares @ levels**2 - mean**2).mean()))
        # Rounded, so that the numbers in the config are the numbers used.
        return PixelPatchTokenizer(
            PixelPatchConfig(
                frame_shape=self.store.frame_shape,
                patch_size=self.preset.patch_size,
                mean=tuple(round(float(m), 1) for m in mean),
                std=max(1.0, round(std, 1)),
            )
        )

    def trainer(self) -> Trainer:
        """Trains the transformer, continuing from a checkpoint if there is one."""
        flow, tokenizer = self.preset.flow, self.tokenizer()
        return Trainer(
            self.store,
            tokenizer,
            self.preset.network,
            flow,
            self.train,
            self.folder,
            self.device,
            self.start_from,
            make_method(flow, tokenizer, self.start_from) if flow.makes_samples else None,
            self.tokens,
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
        """Clips that start episodes; fewer than wished for of a small data set or large frames.

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
        count = clips_that_fit(self.outcome.contexts, length, store.frame_shape)
        count = min(count, fitting)
        return ContextSet.from_store(store, "train", count, length, seed=0)

    def world(self, trainer: Trainer, outcome: OutcomeModel | None = None) -> World:
        """The world as it stands, with the averaged weights."""
        preset, store, begun = self.preset, self.store, self.start_from
        teacher = None
        if preset.flow.makes_samples and begun is not None:
            teacher = begun.as_teacher()
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
            teacher=teacher,
        )
        return world.to(self.device)


def describe_hardware(device: torch.device | str) -> str:
    """The processor or GPU in words."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"
