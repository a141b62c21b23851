"""Bootstrap intervals of means and ratios over clips, resampling whole episodes.

Clips of one episode look alike, so they are drawn together: the interval speaks of new episodes.
Where networks were trained to measure something, they are drawn as well: it then also speaks of
others, trained from other seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from agents.statistics import Interval, percentile_interval

RESAMPLES = 2000


def ratio_intervals(
    numerators: np.ndarray,
    denominators: np.ndarray,
    episodes: np.ndarray,
    *,
    transform: Callable[[np.ndarray], np.ndarray] = lambda ratio: ratio,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
    networks: bool = False,
) -> list[Interval]:
    """Sum of numerators over sum of denominators, column by column.

    The same seed draws the same episodes, whatever is measured on them.

    Args:
        numerators: float (N, ...), one row per clip; the other dimensions are flattened.
        denominators: float, same shape; 0 where a clip has nothing to say.
        episodes: int (N,), the episode of each clip.
        transform: of the ratios, monotone, such as from a squared error to PSNR.
        resamples: how many bootstrap samples.
        confidence: share of them inside the interval.
        seed: of the resampling.
        networks: whether there is a dimension before all others, over trained networks.

    Returns:
        One interval per column; NaN where no clip has anything to say, and for both ends of an
        interval over a single episode.
    """
    top, tops = _resampled(numerators, episodes, resamples, seed, networks)
    bottom, bottoms = _resampled(denominators, episodes, resamples, seed, networks)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate, draws = transform(top / bottom), transform(tops / bottoms)
    # Ratios may be infinite in some draws.
    return [
        percentile_interval(estimate[column], draws[:, column], confidence, between=False)
        for column in range(len(estimate))
    ]


def mean_intervals(values: np.ndarray, episodes: np.ndarray, **options: object) -> list[Interval]:
    """Mean over clips of float (N, ...), column by column; NaN entries do not count.

    >>> [i.estimate for i in mean_intervals(np.array([[1.0, np.nan], [3.0, 5.0]]), np.arange(2))]
    [2.0, 5.0]
    """
    known = ~np.isnan(values)
    return ratio_intervals(
        np.where(known, values, 0.0),
        known.astype(np.float64),
        episodes,
        **options,  # type: ignore[arg-type]
    )


def sums_interval(
    sums: np.ndarray,
    episodes: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
    networks: bool = False,
) -> Interval:
    """Any statistic of sums over clips, such as F1 of counts or a correlation of moments.

    Args:
        sums: float (N, ...), what each clip adds.
        episodes: int (N,), the episode of each clip.
        statistic: from sums over clips (R, ...) to R numbers; NaN where there is none.
        resamples: how many bootstrap samples.
        confidence: share of them inside the interval.
        seed: of the resampling; that of :func:`ratio_intervals` draws the same episodes.
        networks: as for :func:`ratio_intervals`; the statistic is of the mean over networks.
    """
    shape = sums.shape[2:] if networks else sums.shape[1:]
    total, drawn = _resampled(sums, episodes, resamples, seed, networks)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = statistic(total.reshape(1, *shape))[0]
        one = np.isnan(drawn).all()  # episode
        draws = np.full(1, np.nan) if one else statistic(drawn.reshape(resamples, *shape))
    return percentile_interval(estimate, draws, confidence, between=False)


def auroc_interval(
    scores: np.ndarray,
    happened: np.ndarray,
    episodes: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Probability that what happened scores above what did not; ties count half.

    Args:
        scores: float (N, H).
        happened: float (N, H): 1, 0, or NaN where unknown.
        episodes: int (N,), the episode of each row.
        resamples: how many bootstrap samples.
        confidence: share of them inside the interval.
        seed: of the resampling.
    """
    group, count = _groups(episodes)
    rows = np.broadcast_to(group[:, None], scores.shape)
    # wins[e, f]: of what happened in episode e over what did not in episode f. A bootstrap sample
    # weighs both, so nothing has to be sorted again.
    losers = happened == 0
    order = np.argsort(scores[losers], kind="stable")
    sorted_scores, owner = scores[losers][order], rows[losers][order]
    below = np.zeros((len(order) + 1, count))
    np.add.at(below, (np.arange(1, len(order) + 1), owner), 1.0)
    below = below.cumsum(0)  # (n + 1, count): of the n lowest scores, how many of each episode
    winners = happened == 1
    high = below[np.searchsorted(sorted_scores, scores[winners], side="left")]
    ties = below[np.searchsorted(sorted_scores, scores[winners], side="right")]
    wins = np.zeros((count, count))
    np.add.at(wins, rows[winners], (high + ties) / 2)
    positives = np.bincount(rows[winners], minlength=count).astype(np.float64)
    negatives = np.bincount(owner, minlength=count).astype(np.float64)
    weights = np.concatenate([np.ones((1, count)), _draws(count, resamples, seed)])
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = (weights @ positives) * (weights @ negatives)
        values = ((weights @ wins) * weights).sum(1) / pairs
    return percentile_interval(values[0], values[1:], confidence, between=False)


def counted(interval: Interval, n: int) -> dict[str, Any]:
    """An interval as JSON, with the number of things that it speaks of."""
    return {**interval.to_dict(), "n": int(n)}


def _groups(episodes: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of the episode of each clip, counted from 0, and how many there are."""
    _, group = np.unique(episodes, return_inverse=True)
    return group, int(group.max()) + 1


def _resampled(
    values: np.ndarray, episodes: np.ndarray, resamples: int, seed: int, networks: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of (N, ...) over clips, flat: (F,) of what was measured, and (resamples, F) drawn.

    With ``networks`` of (S, N, ...), the mean over them.
    """
    group, count = _groups(episodes)
    layers = list(values) if networks else [values]
    sums = np.stack([_per_group(layer, group, count) for layer in layers])  # (S, E, F)
    weights = _draws(count, resamples, seed)
    drawn = np.stack([weights @ layer for layer in sums], axis=1)  # (R, S, F)
    chosen = np.ones((resamples, 1))
    if len(sums) > 1:
        chosen = _draws(len(sums), resamples, seed + 1) / len(sums)
    return sums.sum(1).mean(0), (chosen[..., None] * drawn).sum(1)


@lru_cache(maxsize=8)  # all figures of a part are of the same episodes
def _draws(count: int, resamples: int, seed: int) -> np.ndarray:
    """float64 (resamples, count), how often each episode is drawn; NaN where there is but one.

    Shared, and therefore not to be written to.
    """
    if count < 2:  # resampling one episode would claim perfect certainty
        weights = np.full((resamples, count), np.nan)
    else:
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        weights = drawn.astype(np.float64)
    weights.flags.writeable = False
    return weights


def _per_group(values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    sums = np.zeros((count, flat.shape[1]))
    np.add.at(sums, group, flat)
    return sums
