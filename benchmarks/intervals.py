"""Bootstrap intervals of means and ratios over clips, resampling whole episodes.

Clips of one episode look alike, so they are drawn together: the interval speaks of new episodes.
"""

from __future__ import annotations

from collections.abc import Callable

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

    Returns:
        One interval per column; NaN where no clip has anything to say.
    """
    _, group = np.unique(episodes, return_inverse=True)
    count = int(group.max()) + 1
    tops, bottoms = _per_group(numerators, group, count), _per_group(denominators, group, count)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = transform(tops.sum(0) / bottoms.sum(0))
        draws = transform((weights @ tops) / (weights @ bottoms))
    # Ratios may be infinite in some draws.
    return [
        percentile_interval(estimate[column], draws[:, column], confidence, between=False)
        for column in range(tops.shape[1])
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


def _per_group(values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    sums = np.zeros((count, flat.shape[1]))
    np.add.at(sums, group, flat)
    return sums
