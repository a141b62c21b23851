"""Means, interquartile means and rank correlations, each with a bootstrap interval.

Samples come as one array, or as several *strata* (one array for each agent seed, say). By default
the bootstrap resamples inside every stratum, as rliable does: the interval speaks of these seeds.
With ``resample_strata`` the strata are resampled as well: the interval speaks of new seeds too.

What was seen once cannot say how much it varies: resampling it would claim perfect certainty, so
there is no interval, its ends are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Strata = Sequence[np.ndarray]


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval."""

    estimate: float
    """The statistic of the samples themselves."""
    low: float
    """Lower end of the interval; NaN where there is none."""
    high: float
    """Upper end of the interval; NaN where there is none."""
    confidence: float = 0.95
    """Share of resampled statistics inside the interval."""

    def __str__(self) -> str:
        return f"{format_number(self.estimate)} {self.ends}"

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not (np.isnan(self.low) or np.isnan(self.high))

    @property
    def ends(self) -> str:
        """``[1.10, 1.35]``, or a word for none."""
        if not self.known:
            return "(no interval)"
        return f"[{format_number(self.low)}, {format_number(self.high)}]"

    def to_json(self) -> dict[str, float | None]:
        """The four numbers; None for what is unknown or infinite, since JSON knows no NaN."""
        return {k: x if np.isfinite(x) else None for k, x in self.to_dict().items()}

    def to_dict(self) -> dict[str, float]:
        """The four numbers; NaN for what is unknown."""
        return {
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
        }


def format_number(value: float) -> str:
    """Three digits or so: ``853``, ``21.4``, ``0.87``.

    >>> [format_number(x) for x in (1234.5, 853.2, -21.44, 0.871)]
    ['1,234', '853', '-21.4', '0.87']
    """
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{decimals}f}"


def mean_interval(samples: ArrayLike | Strata, **options: Any) -> Interval:
    """Mean over all samples; ``options`` are those of :func:`bootstrap`.

    >>> mean_interval([1.0, 2.0, 3.0]).estimate
    2.0
    """
    return bootstrap(samples, _mean, **options)


def iqm_interval(samples: ArrayLike | Strata, **options: Any) -> Interval:
    """Interquartile mean (the mean of the middle half) over all samples."""
    return bootstrap(samples, interquartile_mean, **options)


def difference_interval(
    ours: ArrayLike | Strata,
    theirs: ArrayLike | Strata,
    *,
    resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
    resample_strata: bool = False,
) -> Interval:
    """Mean of ``ours`` minus mean of ``theirs``, two independent groups of samples.

    "Beaten" is the word for an interval that lies above zero. There is none where either group is
    too small for one.
    """
    rng = np.random.default_rng(seed)
    a, b = as_strata(ours), as_strata(theirs)
    draws_a = _resample(a, _mean, resamples, rng, resample_strata)
    draws_b = _resample(b, _mean, resamples, rng, resample_strata)
    estimate = _mean(np.concatenate(a)) - _mean(np.concatenate(b))
    return percentile_interval(estimate, draws_a - draws_b, confidence)


def bootstrap(
    samples: ArrayLike | Strata,
    statistic: Callable[[np.ndarray], float],
    *,
    resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
    resample_strata: bool = False,
) -> Interval:
    """Percentile bootstrap of ``statistic`` over the pooled samples.

    Args:
        samples: one array of numbers, or one array for each stratum.
        statistic: from a 1-D array to a number.
        resamples: how many bootstrap samples to draw.
        confidence: share of them inside the interval.
        seed: of the resampling.
        resample_strata: whether strata are drawn with replacement too.

    Returns:
        Without an interval where there is nothing to resample: a stratum of one sample, or, with
        ``resample_strata``, a single sample in all.
    """
    strata = as_strata(samples)
    draws = _resample(strata, statistic, resamples, np.random.default_rng(seed), resample_strata)
    return percentile_interval(statistic(np.concatenate(strata)), draws, confidence)


def percentile_interval(
    estimate: float, draws: np.ndarray, confidence: float, *, between: bool = True
) -> Interval:
    """The interval that holds the share ``confidence`` of bootstrap draws; NaN ones do not count.

    Args:
        estimate: the statistic of the samples themselves.
        draws: float (N,), the statistic of each bootstrap sample.
        confidence: share of them inside the interval.
        between: whether an end may lie between two draws, not where some are infinite.
    """
    known = draws[~np.isnan(draws)]
    if not len(known):
        return Interval(float(estimate), np.nan, np.nan, confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail], method="linear" if between else "inverted_cdf")
    return Interval(float(estimate), float(low), float(high), confidence)


def interquartile_mean(values: np.ndarray) -> float:
    """Mean after cutting a quarter of the samples off each end (``scipy.stats.trim_mean``).

    >>> interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0]))
    1.5
    """
    cut = len(values) // 4
    return _mean(np.sort(values)[cut : len(values) - cut])


def ranks(values: ArrayLike) -> np.ndarray:
    """Ranks from 1; ties share the mean of their ranks.

    >>> ranks([10.0, 20.0, 20.0, 5.0])
    array([2. , 3.5, 3.5, 1. ])
    """
    array = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation; 0 where one side is constant.

    >>> spearman([1, 2, 3], [10, 30, 20])
    0.5
    """
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return round(float(a @ b) / scale, 12) if scale > 0 else 0.0


def rank_agreement(
    real: Strata,
    imagined: Strata,
    *,
    resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Spearman between the mean returns of the same policies in two environments.

    Args:
        real: episode returns in the real environment, one array per policy.
        imagined: episode returns in the imagined one, in the same order of policies.
        resamples: how many bootstrap samples; each redraws the episodes of every policy.
        confidence: share of them inside the interval.
        seed: of the resampling.

    Returns:
        It speaks of these policies in other episodes; without an interval where a policy played
        one episode only.
    """
    draws = _rank_draws(real, [imagined], resamples, seed)[0]
    return percentile_interval(_rank_estimate(real, imagined), draws, confidence)


def rank_agreement_difference(
    real: Strata,
    ours: Strata,
    theirs: Strata,
    *,
    resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """How much better one imagined environment ranks policies than another: Spearman's difference.

    The same real episodes are drawn for both.

    Args:
        real: episode returns in the real environment, one array per policy.
        ours: in one imagined environment, in the same order of policies.
        theirs: in the other.
        resamples: how many bootstrap samples; each redraws the episodes of every policy.
        confidence: share of them inside the interval.
        seed: of the resampling.
    """
    a, b = _rank_draws(real, [ours, theirs], resamples, seed)
    estimate = _rank_estimate(real, ours) - _rank_estimate(real, theirs)
    return percentile_interval(estimate, a - b, confidence)


def _rank_estimate(real: Strata, imagined: Strata) -> float:
    return spearman([_mean(np.asarray(p)) for p in real], [_mean(np.asarray(p)) for p in imagined])


def _rank_draws(
    real: Strata, sides: Sequence[Strata], resamples: int, seed: int
) -> list[np.ndarray]:
    """Spearman of each side with the real returns, for every bootstrap sample."""
    for side in sides:
        if len(real) != len(side) or len(real) < 2:
            raise ValueError(
                f"expected the same policies twice, at least two of them; got {len(real)} real and "
                f"{len(side)} imagined."
            )
    rng = np.random.default_rng(seed)
    truth, *means = [
        np.stack([_resample([np.asarray(p, float)], _mean, resamples, rng, False) for p in side])
        for side in (real, *sides)
    ]
    known = not any(np.isnan(side).any() for side in (truth, *means))
    return [
        np.array([spearman(truth[:, i], mean[:, i]) for i in range(resamples)])
        if known
        else np.full(resamples, np.nan)
        for mean in means
    ]


def as_strata(samples: ArrayLike | Strata) -> list[np.ndarray]:
    """Samples as a list of non-empty float64 arrays, one per stratum.

    Raises:
        ValueError: if there are no samples.
    """
    if isinstance(samples, list | tuple) and len(samples) > 0 and np.ndim(samples[0]) == 1:
        strata = [np.asarray(part, np.float64) for part in samples]
    else:
        strata = [np.asarray(samples, np.float64).ravel()]
    if any(part.size == 0 for part in strata):
        raise ValueError("no samples to summarise: every group needs at least one episode.")
    return strata


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _resample(
    strata: Strata,
    statistic: Callable[[np.ndarray], float],
    resamples: int,
    rng: np.random.Generator,
    resample_strata: bool,
) -> np.ndarray:
    draws = np.full(resamples, np.nan)
    if not _can_resample(strata, resample_strata):
        return draws
    for i in range(resamples):
        chosen = strata
        if resample_strata:
            chosen = [strata[k] for k in rng.integers(len(strata), size=len(strata))]
        drawn = [part[rng.integers(part.size, size=part.size)] for part in chosen]
        draws[i] = statistic(np.concatenate(drawn))
    return draws


def _can_resample(strata: Strata, resample_strata: bool) -> bool:
    if resample_strata and len(strata) > 1:
        return True
    return all(part.size > 1 for part in strata)
