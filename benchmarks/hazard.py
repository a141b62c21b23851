"""Whether the predicted probability that a step ends the episode is right."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.intervals import auroc_interval, counted, ratio_intervals, sums_interval
from world_model.outcome_metrics import binary_metrics, equal_bins

BINS = 10
"""Of a plot; the calibration error has its own."""
ECE_BINS = 15
SMALLEST = 1e-12
"""Probabilities end here: a certainty that is wrong costs 27.6 nats, not infinitely many."""


def score_hazard(
    probability: np.ndarray, ended: np.ndarray, episodes: np.ndarray
) -> dict[str, Any]:
    """Scores hazards (N, H) against what happened (N, H): 1, 0, or NaN where unknown.

    Steps after the end of an episode are unknown, so each step is asked of a living player.

    Returns:
        ``ends`` (real ones), ``expected_ends`` (sum of hazards), ``ratio`` of the second to the
        first with its interval (infinite where nothing ended), ``scores`` (see
        :class:`world_model.outcome_metrics.BinaryMetrics`; None where nothing, or everything,
        ended) and ``bins`` of equally many steps for a reliability plot.
    """
    known = ~np.isnan(ended)
    both = 0 < np.nansum(ended) < known.sum()
    scores = asdict(binary_metrics(probability[known], ended[known])) if both else None
    return {**count_ends(probability, ended, episodes), "scores": scores}


def count_ends(probability: np.ndarray, ended: np.ndarray, episodes: np.ndarray) -> dict[str, Any]:
    """As :func:`score_hazard`, without the scores."""
    known = ~np.isnan(ended)
    happened = np.where(known, ended, 0.0)
    expected = np.where(known, probability, 0.0)
    ratio = ratio_intervals(
        expected.sum(1, keepdims=True), happened.sum(1, keepdims=True), episodes
    )[0]
    return {
        "steps": int(known.sum()),
        "ends": int(happened.sum()),
        "expected_ends": float(expected.sum()),
        "ratio": ratio.to_dict(),
        "bins": reliability_bins(probability[known], ended[known]),
    }


def reliability_bins(
    probability: np.ndarray, happened: np.ndarray, bins: int = BINS
) -> list[dict[str, float]]:
    """Mean prediction and mean outcome of equally many steps each, from unlikely to likely."""
    order = np.argsort(probability, kind="stable")
    return [
        {
            "predicted": float(probability[part].mean()),
            "observed": float(happened[part].mean()),
            "steps": len(part),
        }
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    ]


def hazard_intervals(
    probability: np.ndarray, ended: np.ndarray, episodes: np.ndarray, threshold: float
) -> dict[str, dict[str, Any]]:
    """Scores of hazards (N, H) with their intervals over episodes.

    Args:
        probability: float (N, H), that a step ends the episode.
        ended: float (N, H): 1, 0, or NaN where unknown.
        episodes: int (N,).
        threshold: probability above which the world calls it the end.

    Returns:
        ``brier`` and ``log_loss`` (nats), each with what the base rate would score (``_base``);
        ``ece`` over 15 equally filled bins (its draws keep the bins; it is never below 0, so the
        interval leans upwards); ``precision``, ``recall`` and ``f1`` at the threshold; ``auroc``.
        Rank, precision and recall are NaN where nothing, or everything, ended.
    """
    known = ~np.isnan(ended)
    y = np.where(known, ended, 0.0).astype(np.float64)
    p = np.where(known, probability, 0.0).astype(np.float64)
    safe = np.clip(p, SMALLEST, 1 - SMALLEST)
    bins = np.zeros(p.shape, np.int64)
    bins[known] = equal_bins(probability[known], ECE_BINS)
    in_bin = (bins[..., None] == np.arange(ECE_BINS)) & known[..., None]
    called = (probability > threshold) & known
    columns = {
        "brier": np.where(known, (p - y) ** 2, 0.0),
        "log_loss": np.where(known, -(y * np.log(safe) + (1 - y) * np.log1p(-safe)), 0.0),
        "ends": y,
        "called": called,
        "hits": called * y,
        "steps": known,
    }
    names = list(columns)
    sums = np.stack([column.sum(1) for column in columns.values()], axis=1)
    gaps = ((p - y)[..., None] * in_bin).sum(1)
    sums = np.concatenate([sums, gaps], axis=1)  # (N, columns + bins)

    def column(s: np.ndarray, name: str) -> np.ndarray:
        return s[:, names.index(name)]

    def base(s: np.ndarray) -> np.ndarray:
        return column(s, "ends") / column(s, "steps")

    statistics = {
        "brier": lambda s: column(s, "brier") / column(s, "steps"),
        "brier_base": lambda s: base(s) * (1 - base(s)),
        "log_loss": lambda s: column(s, "log_loss") / column(s, "steps"),
        "log_loss_base": lambda s: entropy(base(s)),
        "ece": lambda s: np.abs(s[:, len(names) :]).sum(1) / column(s, "steps"),
        "precision": lambda s: column(s, "hits") / column(s, "called"),
        "recall": lambda s: column(s, "hits") / column(s, "ends"),
        "f1": lambda s: 2 * column(s, "hits") / (column(s, "called") + column(s, "ends")),
    }
    n = int(known.sum())
    scores = {
        name: counted(sums_interval(sums, episodes, statistic), n)
        for name, statistic in statistics.items()
    }
    scores["auroc"] = counted(auroc_interval(probability, ended, episodes), n)
    return scores


def entropy(p: np.ndarray) -> np.ndarray:
    """Of a coin that shows heads with probability ``p``, in nats; NaN for no coin.

    >>> [round(float(x), 3) for x in entropy(np.array([0.5, 0.0]))]
    [0.693, 0.0]
    """
    safe = np.clip(p, SMALLEST, 1 - SMALLEST)
    return -(p * np.log(safe) + (1 - p) * np.log1p(-safe))
