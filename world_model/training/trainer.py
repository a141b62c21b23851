"""Trains the transformer of a world on recorded episodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from world_model.action_spec import ActionSpec
from world_model.data import EpisodeStore, WindowSampler
from world_model.distillation.method import LossBatch, Method
from world_model.errors import ConfigError, DivergenceError
from world_model.flow import FlowConfig, flow_loss
from world_model.network import NetworkConfig, NextFrameDiffusion
from world_model.precision import choose_precision
from world_model.storage import recover_folder
from world_model.tokenizer import PixelPatchTokenizer
from world_model.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from world_model.training.config import TrainConfig
from world_model.training.loss_weights import loss_weights
from world_model.training.optimisation import EMA, build_optimizers, learning_rate
from world_model.world import World


@dataclass(frozen=True)
class StepReport:
    """What one training step tells."""

    step: int
    """Steps done, this one included."""
    loss: float
    """Training loss, averaged over the processes."""
    learning_rate: float
    """Learning rate of the step."""
    gradient_norm: float
    """Norm of the gradient before clipping."""


class Trainer:
    """Trains a :class:`NextFrameDiffusion` and can be stopped and continued at any step.

    Every random number of a step (windows, noise levels, noise) is a function of
    (seed, step, process), so a run that was killed and continued equals one that was not.

    Args:
        store: recorded episodes.
        tokenizer: turns frames into tokens.
        network: configuration of the transformer.
        flow: what it predicts and how it is weighted.
        train: length and speed.
        folder: where checkpoints go; continued from if there is one.
        device: where to train.
        start_from: a world whose transformer's weights to begin with, instead of fresh ones; a
            checkpoint in ``folder`` goes first.
        method: few-step training with this loss, instead of the regression of ``flow``.

    Raises:
        ConfigError: if the settings do not fit each other or the processes.
        CheckpointError: if there is a damaged checkpoint, or one of another run.
        DataError: if no episode is long enough.
    """

    def __init__(
        self,
        store: EpisodeStore,
        tokenizer: PixelPatchTokenizer,
        network: NetworkConfig,
        flow: FlowConfig,
        train: TrainConfig,
        folder: Path,
        device: torch.device | str = "cpu",
        start_from: World | None = None,
        method: Method | None = None,
    ) -> None:
        self.store, self.flow, self.config = store, flow, train
        self.folder, self.device = folder, torch.device(device)
        self.tokenizer = tokenizer.to(self.device)
        self.rank = int(os.environ.get("RANK", 0))
        self.world_size = int(os.environ.get("WORLD_SIZE", 1))
        if train.batch_size % self.world_size:
            raise ConfigError(
                f"batch_size {train.batch_size} does not divide among {self.world_size} processes. "
                "Choose a multiple."
            )
        if (network.previous_frames or flow.own_fraction) and train.length < 2:
            raise ConfigError(
                f"length={train.length} leaves nothing to learn: the first frame of a window only "
                "serves as the one before. Choose at least 2."
            )
        torch.manual_seed(train.seed)
        model = NextFrameDiffusion(network, store.action_spec).to(self.device)
        if start_from is not None:
            _copy_weights(start_from, model, store.action_spec)
        self.method = None if method is None else method.to(self.device)
        self.state = TrainingState(
            model,
            EMA(model, train.ema_decay),
            build_optimizers(model, train, method),
            method=self.method,
        )
        self.settings: dict[str, Any] = {
            "network": asdict(network),
            "flow": asdict(flow),
            "train": {k: v for k, v in asdict(train).items() if k not in _FREE_TO_CHANGE},
            "action_spec": store.action_spec.to_dict(),
            "data": store.content_hash,
        }
        if start_from is not None:
            self.settings["start_from"] = start_from.model_id
        if method is not None and (description := method.description()):
            self.settings["method"] = description
        self._load()
        self._half_done = False
        self._forward = self._wrap(model)
        self._windows = WindowSampler(
            store,
            "train",
            train.length,
            train.batch_size // self.world_size,
            seed=train.seed * 1_000_003 + self.rank,
        )
        self._dtype = choose_precision(train.precision, self.device)

    @property
    def model(self) -> NextFrameDiffusion:
        """The network being trained."""
        model = self.state.network
        assert isinstance(model, NextFrameDiffusion)
        return model

    def run(self) -> Generator[StepReport, None, None]:
        """Trains to the last step, yielding after each one; saves when due and when closed."""
        saved_at = self.state.step
        try:
            while self.state.step < self.config.steps:
                yield self.train_step()
                if self.state.step % self.config.save_every == 0:
                    self.save()
                    saved_at = self.state.step
        finally:
            # An interrupted update is no state that a run can continue from.
            if self.state.step != saved_at and not self._half_done:
                self.save()

    def train_step(self) -> StepReport:
        """One optimiser step.

        Raises:
            DivergenceError: if the gradient is not finite; the weights are left as they were.
        """
        step = self.state.step
        batch = self._windows.sample(step)
        frames, actions = batch.frames.to(self.device), batch.actions.to(self.device)
        latents = self.tokenizer.encode(frames)
        weights = loss_weights(self.tokenizer, self.flow, latents, batch.labels)
        generator = torch.Generator(self.device)
        generator.manual_seed((self.config.seed * 1_000_003 + step) * 1_009 + self.rank)
        rate = learning_rate(step, self.config)
        for optimizer in self.state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        # Uncached: passes without gradients come first, and their casts must not serve the others.
        mixed = self._dtype != torch.float32
        with torch.autocast(self.device.type, self._dtype, mixed, cache_enabled=False):
            if self.method is None:
                loss = flow_loss(
                    self._forward,
                    latents,
                    actions,
                    self.flow,
                    generator,
                    previous=self.model.config.previous_frames,
                    weights=weights,
                )
            else:
                made = LossBatch(latents, actions, weights, generator, step)
                loss = self.method(self._forward, self.model, made)
        for optimizer in self.state.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._share_method_gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        if not torch.isfinite(norm):
            raise DivergenceError(
                f"the gradient is {norm.item()} at step {step}. Start anew in another folder than "
                f"{self.folder}, with a learning rate below {self.config.learning_rate:g} or "
                "precision float32."
            )
        self._half_done = True
        for optimizer in self.state.optimizers:
            optimizer.step()
        self.state.ema.update(self.model, step)
        self.state.step += 1
        self._half_done = False
        value = loss.detach()
        if self.world_size > 1:
            torch.distributed.all_reduce(value)
            value = value / self.world_size
        return StepReport(self.state.step, value.item(), rate, norm.item())

    def save(self) -> None:
        """Writes the checkpoint (the first process only)."""
        if self.rank == 0:
            save_checkpoint(self.folder / "checkpoint", self.state, self.settings)

    def averaged_network(self) -> NextFrameDiffusion:
        """A copy of the network with the averaged weights."""
        model = NextFrameDiffusion(self.model.config, self.store.action_spec)
        model.load_state_dict(self.state.ema.weights, strict=False)
        return model.to(self.device).eval()

    def _load(self) -> None:
        """Continues from the checkpoint, if there is one."""
        checkpoint = self.folder / "checkpoint"
        if self.rank == 0:
            recover_folder(checkpoint)
        if self.world_size > 1:
            torch.distributed.barrier()  # nobody looks before it is tidy
        if checkpoint.exists():
            load_checkpoint(checkpoint, self.state, self.settings)

    def _share_method_gradients(self) -> None:
        """Averages over the processes what only the network's gradients are averaged for."""
        if self.method is None or self.world_size == 1:
            return
        for parameter in self.method.parameters():
            assert parameter.grad is not None
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= self.world_size

    def _wrap(self, model: NextFrameDiffusion) -> Callable[..., Tensor]:
        forward: Any = model
        if self.world_size > 1:
            forward = nn.parallel.DistributedDataParallel(model)
        return torch.compile(forward) if self.config.compile else forward


def _copy_weights(world: World, model: NextFrameDiffusion, spec: ActionSpec) -> None:
    """Begins with a world's weights.

    Raises:
        ConfigError: if the world's transformer has another shape, or other actions.
    """
    theirs, ours = world.network.config, model.config
    if theirs != ours or world.action_spec != spec:
        differing = [k for k, v in asdict(ours).items() if getattr(theirs, k) != v] or ["actions"]
        raise ConfigError(
            f"{world.model_id} cannot be begun with: it differs in {', '.join(differing)}. Choose "
            "the preset it was trained with, or start from fresh weights."
        )
    model.load_state_dict(world.network.state_dict())


_FREE_TO_CHANGE = ("log_every", "save_every", "sample_every", "compile", "steps")
"""Settings that may differ when a run is continued."""
