"""Trains the outcome model on recorded episodes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from world_model import two_hot
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError, DataError
from world_model.outcome import OutcomeConfig, OutcomeModel
from world_model.outcome_data import (
    EpisodeLanes,
    EpisodeSource,
    check_splits,
    outcome_columns,
    state_columns,
)
from world_model.outcome_losses import outcome_losses, total_loss
from world_model.outcome_metrics import OutcomeMetrics, evaluate_outcome
from world_model.storage import atomic_folder, save_tensors
from world_model.types import Episode


@dataclass(frozen=True)
class OutcomeTraining:
    """How the outcome model is trained; defaults fit some 100,000 frames of 64x64."""

    learning_rate: float = 1e-3
    """Peak of the learning rate: it rises over the first 5 % and falls to 0 along a cosine."""
    weight_decay: float = 0.05
    """Of the weight matrices and kernels."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    reward_weight: float = 0.1
    """Of the reward's cross entropy, next to 1 for the termination's."""
    state_weight: float = 0.1
    """Of the cross entropies of the state and its changes."""
    late_start_fraction: float = 0.1
    """Share of episodes that are entered in the middle, with a memory that missed the start."""
    autocast: bool = False
    """Convolutions and matrix products in bf16: where the device is fast at it."""
    validate_every: int = 0
    """Steps between measurements on the validation split; 0 for none."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""


@dataclass(frozen=True)
class OutcomeProgress:
    """What ``on_progress`` is told after every step."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    losses: dict[str, float]
    """Loss terms of this step, before weighting."""
    metrics: OutcomeMetrics | None
    """Scores on the validation split, where they were just measured."""


def outcome_config(
    source: EpisodeSource, *, state_names: Sequence[str] = (), **settings: Any
) -> OutcomeConfig:
    """The config for a data set: supports of rewards and states are read off its training split.

    Args:
        source: the data set.
        state_names: columns of its state that training shall teach the memory.
        settings: further fields of :class:`OutcomeConfig`.
    """
    train, _ = check_splits(source)
    columns = state_columns(source, state_names)
    episodes = [source.episode(int(index)) for index in train]
    parts = [outcome_columns(episode, columns) for episode in episodes]

    def support(name: str, column: int | None = None) -> tuple[float, ...]:
        values = np.concatenate([part[name] for part in parts])
        values = values if column is None else values[:, column]
        return two_hot.support_of(values[~np.isnan(values)])

    return OutcomeConfig.for_frames(
        source.frame_shape,
        reward_support=support("rewards"),
        end_reward=_end_reward(episodes),
        state_names=tuple(state_names),
        state_supports=tuple(support("states", i) for i in range(len(columns))),
        change_supports=tuple(support("changes", i) for i in range(len(columns))),
        **settings,
    )


def _end_reward(episodes: Sequence[Episode]) -> float | None:
    """Mean reward of steps that terminated an episode and show no frame; None: there is none."""
    rewards = [
        float(episode.rewards[-1])
        for episode in episodes
        if len(episode.actions) == len(episode.frames) and episode.terminated[-1]
    ]
    known = [reward for reward in rewards if not math.isnan(reward)]
    return sum(known) / len(known) if known else None


def train_outcome(
    source: EpisodeSource,
    action_spec: ActionSpec,
    config: OutcomeConfig,
    *,
    steps: int,
    batch: int = 16,
    length: int = 32,
    seed: int = 0,
    training: OutcomeTraining | None = None,
    checkpoint_dir: str | Path | None = None,
    on_progress: Callable[[OutcomeProgress], None] | None = None,
    device: torch.device | str = "cpu",
) -> OutcomeModel:
    """Trains an outcome model on whole episodes of the training split, memory carried along.

    The same arguments give the same weights. With ``checkpoint_dir`` the run goes on where a
    checkpoint there stands, and ends as if it had never stopped.

    Args:
        source: the data set.
        action_spec: of the world; must be that of the data set.
        config: the model, see :func:`outcome_config`.
        steps: optimiser steps.
        batch: episodes played side by side.
        length: frames of each per step, through which gradients flow.
        seed: of the weights, the order of the episodes, and dropout.
        training: the remaining settings.
        checkpoint_dir: folder for checkpoints; None for none.
        on_progress: told after every step.
        device: where to train.

    Raises:
        DataError: if the data set does not fit, or its splits overlap.
        CheckpointError: if the checkpoint is damaged or of a run with other arguments.
    """
    training = training or OutcomeTraining()
    if source.action_spec != action_spec:
        raise DataError(f"the data set has {source.action_spec}, the world {action_spec}.")
    if tuple(source.frame_shape) != tuple(config.frame_shape):
        raise DataError(
            f"the data set has frames of {source.frame_shape}, the model of {config.frame_shape}."
        )
    train, validation = check_splits(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OutcomeModel(config, action_spec).to(device)
    lanes = EpisodeLanes(
        source,
        train,
        state_columns(source, config.state_names),
        lanes=batch,
        length=length,
        seed=seed,
        late_start_fraction=training.late_start_fraction,
    )
    run = _Run(model, lanes, training, steps, model.initial_memory(batch, device))
    settings = {
        "config": config.to_dict(),
        "training": asdict(training),
        "steps": steps,
        "batch": batch,
        "length": length,
        "seed": seed,
    }
    folder = None if checkpoint_dir is None else Path(checkpoint_dir) / "outcome"
    if folder is not None and folder.exists():
        run.load(folder, settings)
    model.train()
    while run.step < steps:
        losses = run.advance(seed)
        metrics = None
        if training.validate_every and run.step % training.validate_every == 0:
            metrics = evaluate_outcome(model, source, validation)
        last = run.step == steps
        if folder is not None and (last or run.step % training.checkpoint_every == 0):
            run.save(folder, settings)
        if on_progress is not None:
            on_progress(OutcomeProgress(run.step, steps, losses, metrics))
    return model.eval()


class _Run:
    """A training run that can be written down and taken up again."""

    def __init__(
        self,
        model: OutcomeModel,
        lanes: EpisodeLanes,
        training: OutcomeTraining,
        steps: int,
        memory: Tensor,
    ) -> None:
        self.model, self.lanes, self.training = model, lanes, training
        self.steps, self.memory = steps, memory
        self.step = 0
        self.optimizer = make_optimizer(model, training)

    def advance(self, seed: int) -> dict[str, float]:
        """One optimiser step; returns its losses."""
        device = self.memory.device
        batch = self.lanes.next().to(device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.learning_rate * schedule(self.step, self.steps)
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.autocast(device.type, torch.bfloat16, enabled=self.training.autocast),
        ):
            torch.manual_seed(seed * 1_000_003 + self.step)  # dropout depends on the step alone
            sequence = self.model.forward_sequence(
                batch.frames, batch.actions, batch.next_actions, self.memory, batch.resets
            )
        losses = outcome_losses(self.model, sequence, batch)
        take_step(
            self.model,
            self.optimizer,
            total_loss(losses, self.training.reward_weight, self.training.state_weight),
            self.training,
        )
        self.memory = sequence.memory.detach()
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    def save(self, folder: Path, settings: dict[str, Any]) -> None:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        tensors["memory"] = self.memory
        with atomic_folder(folder) as temporary:
            save_tensors(
                {name: value.contiguous().cpu() for name, value in tensors.items()},
                temporary / "state.safetensors",
            )
            state = {"step": self.step, "lanes": self.lanes.position, "settings": settings}
            (temporary / "state.json").write_text(json.dumps(state))

    def load(self, folder: Path, settings: dict[str, Any]) -> None:
        try:
            state = json.loads((folder / "state.json").read_text())
            tensors = load_file(folder / "state.safetensors", device=str(self.memory.device))
            written = state["settings"]
        except Exception as error:
            raise CheckpointError(
                f"the checkpoint {folder} is damaged: {error}. Delete it to start over."
            ) from error
        # Compare what JSON makes of both: it knows lists only.
        wanted = json.loads(json.dumps(settings))
        differing = [key for key in wanted if written.get(key) != wanted[key]]
        if differing:
            raise CheckpointError(
                f"the checkpoint {folder} is of a run with other {', '.join(differing)}: "
                f"{ {key: written.get(key) for key in differing} }. Use these, or another folder."
            )
        try:
            self.model.load_state_dict(_under("model.", tensors))
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in _under("optimizer.", tensors).items():
                index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
            self.memory = tensors["memory"]
            self.lanes.position = state["lanes"]
            self.step = state["step"]
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint {folder} is damaged: {error}. Delete it to start over."
            ) from error


def make_optimizer(model: OutcomeModel, training: OutcomeTraining) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, not biases and norms."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": training.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.99))


def take_step(
    model: OutcomeModel, optimizer: torch.optim.Optimizer, loss: Tensor, training: OutcomeTraining
) -> None:
    """One clipped optimiser step down ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
    optimizer.step()


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: up over the first 5 %, down to 0 along a cosine."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
