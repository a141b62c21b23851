"""Trains the autoencoder on single frames of recorded episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from world_model.autoencoder.config import AutoencoderConfig
from world_model.autoencoder.losses import LossConfig, autoencoder_loss
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.data import EpisodeStore, WindowSampler
from world_model.training.checkpoint import TrainingState
from world_model.training.config import TrainConfig
from world_model.training.loop import FREE_TO_CHANGE, StepReport, TrainingLoop
from world_model.training.optimisation import EMA, build_optimizers
from world_model.training.step_graph import Inputs


class AutoencoderTrainer(TrainingLoop):
    """Trains an :class:`AutoencoderTokenizer` and can be stopped and continued at any step.

    Args:
        store: recorded episodes.
        autoencoder: shape of the networks.
        loss: weights of the loss.
        train: length and speed; ``length`` has no meaning, frames are drawn one by one.
        folder: where checkpoints go; continued from if there is one.
        device: where to train.
        perceptual: distance of two batches of images, (B,), instead of that of their pyramids.

    Raises:
        ConfigError: if the batch does not divide among the processes.
        CheckpointError: if there is a damaged checkpoint, or one of another run.
        DataError: if there is no training episode.
    """

    loss_name = "reconstruction"

    def __init__(
        self,
        store: EpisodeStore,
        autoencoder: AutoencoderConfig,
        loss: LossConfig,
        train: TrainConfig,
        folder: Path,
        device: torch.device | str = "cpu",
        perceptual: torch.nn.Module | None = None,
    ) -> None:
        super().__init__(train, folder, device)
        self.step_graph = None  # large convolutions: little to gain, and not tried
        self.loss = loss
        self.perceptual: Callable[[Tensor, Tensor], Tensor] | None = None
        if perceptual is not None:
            self.perceptual = perceptual.to(self.device)
        torch.manual_seed(train.seed)
        network = AutoencoderTokenizer(autoencoder).to(self.device)
        self.state = TrainingState(
            network, EMA(network, train.ema_decay), build_optimizers(network, train)
        )
        free = (*FREE_TO_CHANGE, "length")
        self.settings = {
            "autoencoder": asdict(autoencoder),
            "loss": asdict(loss),
            "perceptual": perceptual is not None,
            "train": {k: v for k, v in asdict(train).items() if k not in free},
            "data": store.content_hash,
        }
        self.restore()
        self._forward = self.wrap(network)
        self._frames = WindowSampler(
            store,
            "train",
            1,
            train.batch_size // self.world_size,
            seed=train.seed * 1_000_003 + self.rank,
            start_fraction=0.0,
        )

    @property
    def model(self) -> AutoencoderTokenizer:
        """The network being trained."""
        model = self.state.network
        assert isinstance(model, AutoencoderTokenizer)
        return model

    def train_step(self) -> StepReport:
        """One optimiser step.

        Raises:
            DivergenceError: if the gradient is not finite; the weights are left as they were.
        """
        frames = self._frames.sample(self.state.step).frames[:, 0].to(self.device)
        return self.update(self.gradient(self._loss_of, self.model.to_images(frames)))

    def _loss_of(self, inputs: Inputs, generator: torch.Generator) -> Tensor:
        (images,) = inputs
        assert images is not None
        shape = (len(images), self.model.config.latent_channels, *self.model.config.latent_grid)
        noise = torch.randn(shape, generator=generator, device=self.device)
        with self.autocast():
            decoded, posterior = self._forward(images, noise)
            return autoencoder_loss(images, decoded, posterior, self.loss, self.perceptual)

    def averaged(self) -> AutoencoderTokenizer:
        """A copy with the averaged weights, for use and not for training; its scale is not set."""
        tokenizer = AutoencoderTokenizer(self.model.config)
        tokenizer.load_state_dict(self.state.ema.weights)
        return tokenizer.to(self.device).eval().requires_grad_(False)
