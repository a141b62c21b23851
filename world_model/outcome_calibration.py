"""Makes the outcome model right on *generated* frames: what it will see once it is in use.

A world model's frames are softer than real ones, and drift. So real episodes are imagined again
under their recorded actions, from some frame on; what really happened stays the truth, and the
outcome model learns (:func:`finetune_outcome`) and is calibrated (:func:`calibrate_outcome`) on
the imagined frames. Where the future is random an imagined stretch and the real one part ways:
keep it short (8 to 32 frames), and read the calibration as right on average.

This file knows nothing of how frames are generated: it takes iterators of
:class:`GeneratedSequence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from world_model.errors import DataError
from world_model.outcome import OutcomeModel
from world_model.outcome_data import (
    EpisodeLanes,
    EpisodeSource,
    OutcomeBatch,
    check_splits,
    outcome_columns,
    pad_rows,
    state_columns,
)
from world_model.outcome_losses import outcome_losses, total_loss
from world_model.outcome_metrics import BinaryMetrics, binary_metrics, run_in_chunks
from world_model.outcome_training import (
    OutcomeProgress,
    OutcomeTraining,
    make_optimizer,
    schedule,
    take_step,
)
from world_model.types import Episode


@dataclass(frozen=True)
class GeneratedSequence:
    """A recorded episode, some of whose frames were imagined under the recorded actions."""

    episode: Episode
    """The real episode: history, actions, and what really happened."""
    start: int
    """Index of the first imagined frame; the frames before it are the real ones."""
    frames: np.ndarray
    """uint8 (F, H, W, 3), imagined frames ``start .. start + F - 1`` of the episode."""

    def __post_init__(self) -> None:
        count, shape = len(self.episode.frames), self.episode.frames.shape[1:]
        if self.frames.shape[1:] != shape or self.frames.dtype != np.uint8:
            raise DataError(
                f"imagined frames are {self.frames.dtype} of shape {self.frames.shape[1:]}; the "
                f"episode's are uint8 of shape {shape}."
            )
        if not 0 <= self.start < self.start + len(self.frames) <= count:
            raise DataError(
                f"imagined frames {self.start} to {self.start + len(self.frames) - 1} do not lie "
                f"within an episode of {count} frames."
            )


@dataclass(frozen=True)
class CalibrationReport:
    """What calibration changed, measured on the frames it was fitted to."""

    before: BinaryMetrics
    """Scores of the hazard before."""
    after: BinaryMetrics
    """Scores of the hazard after."""
    scale: float
    """Factor of the raw termination logit."""
    bias: float
    """What is added to it."""


def calibrate_outcome(
    model: OutcomeModel, sequences: Iterable[Sequence[GeneratedSequence]]
) -> CalibrationReport:
    """Fits scale and bias of the termination logit (Platt), and the threshold of best F1.

    Args:
        model: changed in place: its buffers ``termination_*``.
        sequences: batches of imagined sequences, of episodes that the model was not trained on.

    Raises:
        DataError: if none, or all, of the transitions terminate: nothing can be fitted then.
    """
    was_training = model.training
    model.eval()
    raw, calibrated, ends = [], [], []
    with torch.no_grad():
        for batch in sequences:
            window, memory = _generated_batch(model, batch)
            predicted = model.forward_sequence(
                window.frames, window.actions, window.next_actions, memory
            )
            known = ~window.ends.isnan()
            raw.append(predicted.raw_termination_logits[known].double().cpu())
            calibrated.append(predicted.termination_logits[known].double().cpu())
            ends.append(window.ends[known].double().cpu())
    model.train(was_training)
    if not ends:
        raise DataError("no imagined sequences were given to calibrate on.")
    logits, happened = torch.cat(raw), torch.cat(ends)
    before = binary_metrics(torch.cat(calibrated).sigmoid().numpy(), happened.numpy())
    scale, bias = fit_platt(logits, happened)
    fitted = (logits * scale + bias).sigmoid()
    after = binary_metrics(fitted.numpy(), happened.numpy())
    model.termination_scale.fill_(scale)
    model.termination_bias.fill_(bias)
    # Just below the best threshold, so that logits equal to it count.
    threshold = torch.tensor(after.threshold).logit() - 1e-4
    model.termination_threshold.copy_(threshold)
    return CalibrationReport(before, after, scale, bias)


def fit_platt(logits: Tensor, happened: Tensor) -> tuple[float, float]:
    """Scale and bias (float64 in, Newton's method) under which ``logits`` are most likely.

    A prior as light as one observation pulls to (1, 0), so that a handful of events, or perfectly
    separated ones, give no wild values. The scale stays positive: order is never reversed.
    """
    features = torch.stack([logits, torch.ones_like(logits)], dim=1)
    identity = torch.tensor([1.0, 0.0], dtype=torch.float64)
    weights = identity.clone()

    def objective(w: Tensor) -> Tensor:
        z = features @ w
        likelihood = (torch.nn.functional.softplus(z) - happened * z).sum()
        return likelihood + 0.5 * (w - identity).square().sum()

    for _ in range(100):
        probability = (features @ weights).sigmoid()
        gradient = features.T @ (probability - happened) + (weights - identity)
        curvature = probability * (1 - probability)
        hessian = features.T @ (features * curvature[:, None]) + torch.eye(2, dtype=torch.float64)
        step = torch.linalg.solve(hessian, gradient)
        size = 1.0
        while objective(weights - size * step) > objective(weights) and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if step.abs().max() < 1e-9:
            break
    return max(float(weights[0]), 0.05), float(weights[1])


def finetune_outcome(
    model: OutcomeModel,
    source: EpisodeSource,
    sequences: Iterator[Sequence[GeneratedSequence]],
    *,
    steps: int,
    batch: int = 16,
    length: int = 32,
    seed: int = 0,
    generated_weight: float = 1.0,
    training: OutcomeTraining | None = None,
    on_progress: Callable[[OutcomeProgress], None] | None = None,
) -> OutcomeModel:
    """Trains ``model`` further on real episodes and imagined sequences, a batch of each per step.

    Resets the calibration: calibrate afterwards.

    Args:
        model: changed in place.
        source: the data set it was trained on.
        sequences: endless batches of imagined sequences, of episodes of the training split.
        steps: optimiser steps; ``next(sequences)`` is called once for each.
        batch: real episodes played side by side.
        length: frames of each per step.
        seed: of the order of the real episodes, and of dropout.
        generated_weight: of the loss on imagined frames, next to 1 for that on real ones.
        training: the remaining settings; by default a fifth of the first training's rate.
        on_progress: told after every step; losses on imagined frames are called ``generated/...``.

    Raises:
        DataError: if an imagined sequence does not fit its episode.
    """
    training = training or OutcomeTraining(learning_rate=2e-4)
    device = model.reward_support.device
    train, _ = check_splits(source)
    columns = state_columns(source, model.config.state_names)
    lanes = EpisodeLanes(source, train, columns, lanes=batch, length=length, seed=seed)
    optimizer = make_optimizer(model, training)
    model.termination_scale.fill_(1.0)
    model.termination_bias.zero_()
    model.termination_threshold.zero_()
    memory = model.initial_memory(batch)
    model.train()
    for step in range(steps):
        real = lanes.next().to(device)
        window, history = _generated_batch(model, next(sequences), columns)
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * schedule(step, steps)
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.autocast(device.type, torch.bfloat16, enabled=training.autocast),
        ):
            torch.manual_seed(seed * 1_000_003 + step)
            on_real = model.forward_sequence(
                real.frames, real.actions, real.next_actions, memory, real.resets
            )
            on_generated = model.forward_sequence(
                window.frames, window.actions, window.next_actions, history
            )
        memory = on_real.memory.detach()
        real_losses = outcome_losses(model, on_real, real)
        generated_losses = outcome_losses(model, on_generated, window)
        weights = (training.reward_weight, training.state_weight)
        loss = total_loss(real_losses, *weights)
        loss = loss + generated_weight * total_loss(generated_losses, *weights)
        take_step(model, optimizer, loss, training)
        if on_progress is not None:
            losses = {name: value.item() for name, value in real_losses.items()}
            losses |= {f"generated/{name}": v.item() for name, v in generated_losses.items()}
            on_progress(OutcomeProgress(step + 1, steps, losses, None))
    return model.eval()


def history_memory(model: OutcomeModel, sequences: Sequence[GeneratedSequence]) -> Tensor:
    """Memory float32 (B, M) of the real frames before each imagined stretch."""
    rows = [outcome_columns(sequence.episode) for sequence in sequences]
    return _history(model, rows, [sequence.start for sequence in sequences])


def _generated_batch(
    model: OutcomeModel, sequences: Sequence[GeneratedSequence], columns: Sequence[int] = ()
) -> tuple[OutcomeBatch, Tensor]:
    """The imagined frames with their targets, and the memory (B, M) of the real ones before."""
    device = model.reward_support.device
    rows = [outcome_columns(sequence.episode, columns) for sequence in sequences]
    windows = []
    for sequence, row in zip(sequences, rows, strict=True):
        stop = sequence.start + len(sequence.frames)
        window = {name: column[sequence.start : stop] for name, column in row.items()}
        windows.append({**window, "frames": sequence.frames})
    starts = [sequence.start for sequence in sequences]
    return pad_rows(windows).to(device), _history(model, rows, starts)


def _history(
    model: OutcomeModel, rows: Sequence[dict[str, np.ndarray]], starts: Sequence[int]
) -> Tensor:
    """Memory (B, M) after the real frames ``0 .. start - 1`` of every row, without gradients."""
    if max(starts) == 0:
        return model.initial_memory(len(starts))
    backwards = [
        {name: column[:start][::-1] for name, column in row.items()}
        for row, start in zip(rows, starts, strict=True)
    ]
    # Padded in front, so that all end together: what lies before an episode's first frame is
    # wiped out by its reset.
    padded = pad_rows(backwards)
    flipped = {name: getattr(padded, name).flip(1) for name in rows[0]}
    history = replace(padded, **flipped).to(model.reward_support.device)
    was_training = model.training
    model.eval()
    for sequence in run_in_chunks(model, history):
        memory = sequence.memory
    model.train(was_training)
    # A row whose imagined part is the whole episode has no history: nothing was reset there.
    fresh = torch.tensor([start == 0 for start in starts], device=memory.device)
    return torch.where(fresh[:, None], model.initial_memory(len(starts)), memory)
