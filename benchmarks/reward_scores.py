"""How good predicted rewards are: step by step, as rare events, and summed over a clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.intervals import counted, mean_intervals, ratio_intervals, sums_interval

RARE = 0.5
"""Rewards count as rare events if at most this share of the steps bring another than usual."""
SAME = 1e-6
"""Rewards that differ by less are equal."""


def score_rewards(predicted: np.ndarray, real: np.ndarray, episodes: np.ndarray) -> dict[str, Any]:
    """Scores of rewards (N, H) against the real ones, NaN where unknown, with intervals.

    Returns:
        ``mae`` beside ``mae_base`` (that of a predictor who always says the median), ``bias``
        (predicted minus real), ``correlation`` (0 where the predictions are constant), ``events``
        (see :func:`score_events`), ``return``: of the sums over the known steps of each clip.
        What cannot be scored is None, and ``not_measured`` says why.
    """
    known = ~np.isnan(real)
    n = int(known.sum())
    truth = np.where(known, real, 0.0).astype(np.float64)
    guess = np.where(known, predicted, 0.0).astype(np.float64)
    median = float(np.median(real[known])) if n else 0.0

    def mean(values: np.ndarray) -> dict[str, Any]:
        summed = (values * known).sum(1, keepdims=True)
        steps = known.sum(1, keepdims=True)
        return counted(ratio_intervals(summed, steps, episodes)[0], n)

    result: dict[str, Any] = {
        "steps": n,
        "mae": mean(np.abs(guess - truth)),
        "mae_base": mean(np.abs(truth - median)),
        "bias": mean(guess - truth),
        "correlation": None,
        "events": None,
        "return": score_returns(guess.sum(1), truth.sum(1), episodes),
        "not_measured": {},
    }
    different = real[known]
    if n == 0 or np.ptp(different) < SAME:
        value = f"{different[0]:g}" if n else "unknown"
        reason = f"every reward of these {n} steps is {value}"
        return {**result, "not_measured": {"correlation": reason, "events": reason}}
    moments = _moments(guess - guess[known].mean(), truth - truth[known].mean(), known)
    result["correlation"] = counted(sums_interval(moments, episodes, _correlation), n)
    usual = _most_common(different)
    share = float((np.abs(different - usual) > SAME).mean())
    if share > RARE:
        reason = f"{share:.0%} of the rewards differ from the most common one, {usual:g}: not rare"
        return {**result, "not_measured": {"events": reason}}
    return {**result, "events": score_events(predicted, real, episodes, usual)}


def score_events(
    predicted: np.ndarray, real: np.ndarray, episodes: np.ndarray, usual: float = 0.0
) -> dict[str, Any]:
    """Precision, recall and F1 of the rewards that differ from the ``usual`` one.

    Such a reward is predicted where the prediction strays from the usual one by more than half of
    what events do (their median), and it is right if it strays to the right side.

    Args:
        predicted: float (N, H).
        real: float (N, H), NaN where unknown.
        episodes: int (N,).
        usual: what most steps earn.
    """
    known = ~np.isnan(real)
    away, guess = np.where(known, real - usual, 0.0), np.where(known, predicted - usual, 0.0)
    event = np.abs(away) > SAME
    size = float(np.median(np.abs(away[event])))
    called = np.abs(guess) > size / 2
    hits = event & called & (np.sign(away) == np.sign(guess))
    columns = [part.sum(1) for part in (hits, called, event)]
    sums = np.stack(columns, axis=1).astype(np.float64)
    ratios: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "precision": lambda s: s[:, 0] / s[:, 1],
        "recall": lambda s: s[:, 0] / s[:, 2],
        "f1": lambda s: 2 * s[:, 0] / (s[:, 1] + s[:, 2]),
    }
    n = int(event.sum())
    scores = {name: counted(sums_interval(sums, episodes, f), n) for name, f in ratios.items()}
    return {"usual": usual, "real": n, "predicted": int(called.sum()), **scores}


def score_returns(predicted: np.ndarray, real: np.ndarray, episodes: np.ndarray) -> dict[str, Any]:
    """Mean absolute error and bias of the returns (N,) of clips, beside the mean of the real ones.

    Also the returns themselves, for a plot.
    """
    rows = {"mae": np.abs(predicted - real), "bias": predicted - real, "mean_real": real}
    n = len(real)
    scores = {
        name: counted(mean_intervals(values[:, None], episodes)[0], n)
        for name, values in rows.items()
    }
    return {**scores, "clips": {"predicted": predicted, "real": real}}


def _moments(x: np.ndarray, y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float64 (N, 6), summed over known steps: 1, x, y, x x, y y, x y."""
    parts = [np.ones_like(x), x, y, x * x, y * y, x * y]
    return np.stack([(part * known).sum(1) for part in parts], axis=1)


def _correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson's, of moments (R, 6); 0 where x is constant, NaN where y is."""
    n, x, y, xx, yy, xy = sums.T
    spread_x, spread_y = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
    covariance = xy / n - x * y / n**2
    constant = spread_x < SAME**2
    value = covariance / np.sqrt(np.where(constant, 1.0, spread_x) * spread_y)
    value = np.where(constant, 0.0, value)
    return np.where(spread_y < SAME**2, np.nan, value)


def _most_common(values: np.ndarray) -> float:
    rounded, counts = np.unique(np.round(values, 6), return_counts=True)
    return float(rounded[counts.argmax()])
