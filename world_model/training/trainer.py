"""Trains the transformer of a world on recorded episodes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from world_model.action_spec import ActionSpec
from world_model.data import EpisodeStore, WindowSampler
from world_model.data.resident import resident
from world_model.distillation.method import LossBatch, Method
from world_model.errors import ConfigError
from world_model.flow import FlowConfig, flow_loss
from world_model.network import NetworkConfig, NextFrameDiffusion
from world_model.tokenizer import FrameTokenizer, PixelPatchTokenizer
from world_model.training.checkpoint import TrainingState
from world_model.training.config import TrainConfig
from world_model.training.loop import FREE_TO_CHANGE, StepReport, TrainingLoop
from world_model.training.loss_weights import check_weights, loss_weights
from world_model.training.optimisation import EMA, build_optimizers
from world_model.training.step_graph import Inputs
from world_model.world import World


class Trainer(TrainingLoop):
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
        tokens: (rows, N, D), all frames of the store as tokens, encoded before; None: frames are
            encoded when they are needed.

    Raises:
        ConfigError: if the settings do not fit each other or the processes.
        CheckpointError: if there is a damaged checkpoint, or one of another run.
        DataError: if no episode is long enough.
    """

    def __init__(
        self,
        store: EpisodeStore,
        tokenizer: FrameTokenizer,
        network: NetworkConfig,
        flow: FlowConfig,
        train: TrainConfig,
        folder: Path,
        device: torch.device | str = "cpu",
        start_from: World | None = None,
        method: Method | None = None,
        tokens: np.ndarray | None = None,
    ) -> None:
        super().__init__(train, folder, device)
        self.store, self.flow, self.loss_name = store, flow, flow.loss
        self.tokenizer, self.tokens = tokenizer.to(self.device).eval(), tokens
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
        if self.method is not None and not self.method.replayable:
            self.step_graph = None
        self.state = TrainingState(
            model,
            EMA(model, train.ema_decay),
            build_optimizers(model, train, method),
            method=self.method,
        )
        self.settings: dict[str, Any] = {
            "network": asdict(network),
            "flow": asdict(flow),
            "train": {k: v for k, v in asdict(train).items() if k not in FREE_TO_CHANGE},
            "action_spec": store.action_spec.to_dict(),
            "data": store.content_hash,
        }
        if start_from is not None:
            self.settings["start_from"] = start_from.model_id
        if method is not None and (description := method.description()):
            self.settings["method"] = description
        if not isinstance(tokenizer, PixelPatchTokenizer):
            self.settings["tokenizer"] = tokenizer.to_dict()
        self.restore()
        self._forward = self.wrap(model)
        self._windows = WindowSampler(
            store,
            "train",
            train.length,
            train.batch_size // self.world_size,
            seed=train.seed * 1_000_003 + self.rank,
        )
        self._rows = resident(store.frames if tokens is None else tokens, self.device)
        seen = store.labels if tokens is None and flow.object_weights else None
        self._label_rows = None if seen is None else resident(seen, self.device)

    @property
    def model(self) -> NextFrameDiffusion:
        """The network being trained."""
        model = self.state.network
        assert isinstance(model, NextFrameDiffusion)
        return model

    def train_step(self) -> StepReport:
        """One optimiser step.

        Raises:
            DivergenceError: if the gradient is not finite; the weights are left as they were.
        """
        latents, labels, actions = self.load(self.state.step)
        check_weights(self.tokenizer, self.flow, latents, labels)
        return self.update(self.gradient(self._loss_of, latents, labels, actions))

    def _loss_of(self, inputs: Inputs, generator: torch.Generator) -> Tensor:
        """The loss of a step, a scalar, from what :meth:`load` gives and random numbers."""
        latents, labels, actions = inputs
        assert latents is not None
        assert actions is not None
        weights = loss_weights(self.tokenizer, self.flow, latents, labels)
        with self.autocast():
            if self.method is not None:
                made = LossBatch(latents, actions, weights, generator, self.state.step)
                return self.method(self._forward, self.model, made)
            return flow_loss(
                self._forward,
                latents,
                actions,
                self.flow,
                generator,
                previous=self.model.config.previous_frames,
                weights=weights,
            )

    def load(self, step: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """The windows of a step: clean tokens (B, F, N, D), labels, actions (B, F, K).

        Labels uint8 (B, F, H, W) are None where none were recorded or none are weighed, or tokens
        were encoded before.
        """
        actions = self._windows.actions(step).to(self.device)
        rows = self._windows.cut(self._rows, step).to(self.device)
        if self.tokens is not None:
            return rows.to(torch.float32), None, actions
        labels = None
        if self._label_rows is not None:
            labels = self._windows.cut(self._label_rows, step).to(self.device)
        with self.autocast():
            return self.tokenizer.encode(rows), labels, actions

    def averaged_network(self) -> NextFrameDiffusion:
        """A copy of the network with the averaged weights."""
        model = NextFrameDiffusion(self.model.config, self.store.action_spec)
        model.load_state_dict(self.state.ema.weights, strict=False)
        return model.to(self.device).eval()


def _copy_weights(world: World, model: NextFrameDiffusion, spec: ActionSpec) -> None:
    """Begins with a world's weights; actions that it does not have are learned anew.

    Raises:
        ConfigError: if the world's transformer has another shape.
    """
    theirs, ours = world.network.config, model.config
    if theirs != ours:
        differing = [k for k, v in asdict(ours).items() if getattr(theirs, k) != v]
        raise ConfigError(
            f"{world.model_id} cannot be begun with: it differs in {', '.join(differing)}. Choose "
            "the preset it was trained with, or start from fresh weights."
        )
    weights = world.network.state_dict()
    if world.action_spec != spec:
        model.embed_action.begin_with(world.network.embed_action)
        weights.update(model.embed_action.state_dict(prefix="embed_action."))
    model.load_state_dict(weights)
