"""How good predicted probabilities of rare events are, and what the outcome model scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from world_model.errors import DataError
from world_model.outcome import OutcomeModel, OutcomeSequence
from world_model.outcome_data import EpisodeSource, OutcomeBatch, state_columns, whole_episodes


@dataclass(frozen=True)
class BinaryMetrics:
    """Scores of probabilities against what happened, each beside its naive counterpart."""

    count: int
    """Number of predictions."""
    positives: int
    """How many of them came true."""
    nll: float
    """Mean negative log likelihood, nats."""
    nll_base: float
    """The same for a predictor that always says the base rate."""
    brier: float
    """Mean squared error of the probability."""
    brier_base: float
    """The same for the base rate."""
    ece: float
    """Expected calibration error over 15 equally filled bins."""
    auroc: float
    """Probability that a positive scores above a negative; 0.5 is chance."""
    f1: float
    """Best F1 over all thresholds."""
    threshold: float
    """Probability at which F1 is best."""


def binary_metrics(probability: np.ndarray, happened: np.ndarray) -> BinaryMetrics:
    """Scores ``probability`` (n,) in [0, 1] against ``happened`` (n,), 0 or 1.

    Raises:
        DataError: if nothing, or everything, happened: nothing can be scored then.
    """
    p = np.clip(np.asarray(probability, np.float64), 1e-12, 1 - 1e-12)
    y = np.asarray(happened, np.float64)
    count, positives = len(y), int(y.sum())
    if p.shape != y.shape or not 0 < positives < count:
        raise DataError(
            f"{positives} of {count} labels are positive; scoring needs both kinds. Use more "
            "episodes, some of which end."
        )
    base = positives / count
    ranks = _midranks(p)  # they give ties half a win each
    gaps = np.bincount(equal_bins(p, 15), weights=p - y, minlength=15)
    wins = ranks[y == 1].sum() - positives * (positives + 1) / 2
    best_first = np.argsort(-p, kind="stable")
    hits = np.cumsum(y[best_first])
    f1 = 2 * hits / (np.arange(1, count + 1) + positives)
    # Only the last of equal probabilities is a threshold one can set.
    settable = np.append(np.diff(p[best_first]) < 0, True)
    best = int(np.argmax(np.where(settable, f1, -1)))
    return BinaryMetrics(
        count=count,
        positives=positives,
        nll=float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean()),
        nll_base=float(-(base * np.log(base) + (1 - base) * np.log1p(-base))),
        brier=float(((p - y) ** 2).mean()),
        brier_base=base * (1 - base),
        ece=float(np.abs(gaps).sum() / count),
        auroc=float(wins / (positives * (count - positives))),
        f1=float(f1[best]),
        threshold=float(p[best_first][best]),
    )


def equal_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """int (n,), the one of ``bins`` equally filled bins of each value; equal ones share theirs.

    >>> equal_bins(np.array([0.1, 0.9, 0.2, 0.2]), 4)
    array([0, 3, 2, 2])
    """
    return ((_midranks(values) - 0.5) / len(values) * bins).astype(int)


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(ties) - (ties - 1) / 2)[inverse]


@dataclass(frozen=True)
class PolicySurvival:
    """Steps per death of the episodes of one behaviour policy, real and predicted."""

    episodes: int
    """Number of episodes."""
    steps: int
    """Transitions whose end is known."""
    real: float
    """Steps divided by terminations; infinite if none."""
    predicted: float
    """Steps divided by the sum of the predicted hazards."""


@dataclass(frozen=True)
class OutcomeMetrics:
    """What the outcome model scores on whole recorded episodes."""

    termination: BinaryMetrics | None
    """Scores of the hazard; None where no episode, or every transition, ended."""
    reward_mae: float
    """Mean absolute error of the expected reward."""
    reward_mae_base: float
    """The same for a predictor that always says the median."""
    state_mae: dict[str, float] = field(default_factory=dict)
    """Mean absolute error of each supervised state."""
    state_mae_base: dict[str, float] = field(default_factory=dict)
    """The same for the median."""
    survival: dict[str, PolicySurvival] = field(default_factory=dict)
    """By the ``policy`` that the episodes name."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@torch.no_grad()
def run_in_chunks(
    model: OutcomeModel, batch: OutcomeBatch, length: int = 64
) -> Iterator[OutcomeSequence]:
    """Predictions over consecutive parts of ``batch``, memory carried over."""
    memory = None
    for start in range(0, batch.frames.shape[1], length):
        part = slice(start, start + length)
        sequence = model.forward_sequence(
            batch.frames[:, part],
            batch.actions[:, part],
            batch.next_actions[:, part],
            memory,
            batch.resets[:, part],
        )
        memory = sequence.memory
        yield sequence


def evaluate_outcome(
    model: OutcomeModel, source: EpisodeSource, indices: np.ndarray, *, batch: int = 16
) -> OutcomeMetrics:
    """Scores ``model`` on the whole episodes ``indices`` of ``source``."""
    was_training, device = model.training, model.reward_support.device
    model.eval()
    names = model.config.state_names
    ends, hazards, rewards, states = [], [], [], []
    policies: dict[str, list[np.ndarray]] = {}
    try:
        for chosen, whole in whole_episodes(
            source, indices, state_columns(source, names), batch=batch
        ):
            parts = list(run_in_chunks(model, whole.to(device)))
            logits = torch.cat([part.termination_logits for part in parts], 1).cpu()
            hazard = logits.sigmoid().numpy()
            expected = torch.cat([part.rewards for part in parts], 1).cpu().numpy()
            known = torch.cat([part.states for part in parts], 1).cpu().numpy()
            end, reward = whole.ends.numpy(), whole.rewards.numpy()
            for row, index in enumerate(chosen):
                valid = ~np.isnan(end[row])
                policy = source.episode(int(index)).info.get("policy", "unknown")
                figures = [1.0, valid.sum(), end[row][valid].sum(), hazard[row][valid].sum()]
                policies.setdefault(policy, []).append(np.array(figures))
            ends.append(end.ravel())
            hazards.append(hazard.ravel())
            rewards.append(np.stack([reward.ravel(), expected.ravel()]))
            truth = whole.states.numpy()
            states.append(np.stack([truth, known]).reshape(2, -1, len(names)))
    finally:
        model.train(was_training)
    end, hazard = np.concatenate(ends), np.concatenate(hazards)
    valid = ~np.isnan(end)
    both = 0 < np.nansum(end) < valid.sum()
    mae, mae_base = _absolute_errors(*np.concatenate(rewards, axis=1))
    state = np.concatenate(states, axis=1)
    state_errors = {
        name: _absolute_errors(state[0, :, i], state[1, :, i]) for i, name in enumerate(names)
    }
    return OutcomeMetrics(
        termination=binary_metrics(hazard[valid], end[valid]) if both else None,
        reward_mae=mae,
        reward_mae_base=mae_base,
        state_mae={name: errors[0] for name, errors in state_errors.items()},
        state_mae_base={name: errors[1] for name, errors in state_errors.items()},
        survival={name: _survival(np.sum(rows, 0)) for name, rows in sorted(policies.items())},
    )


def _absolute_errors(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    valid = ~np.isnan(truth)
    if not valid.any():
        return float("nan"), float("nan")
    truth = truth[valid]
    base = np.abs(truth - np.median(truth)).mean()
    return float(np.abs(truth - predicted[valid]).mean()), float(base)


def _survival(figures: np.ndarray) -> PolicySurvival:
    episodes, steps, deaths, hazard = figures
    return PolicySurvival(
        episodes=int(episodes),
        steps=int(steps),
        real=float(steps / deaths) if deaths else float("inf"),
        predicted=float(steps / hazard) if hazard else float("inf"),
    )
