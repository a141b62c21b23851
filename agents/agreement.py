"""How well returns in an imagined environment stand for those in the real one, over policies.

A bootstrap sample draws policies with replacement, and episodes of each: the interval speaks of
other policies of the same kind as well, and is wider than one over episodes alone, which speaks of
these very policies.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agents.statistics import Interval, Strata, percentile_interval

RESAMPLES = 2000
FEWEST_POLICIES = 3
"""Of two, every draw that knows both orders them as they are: perfect certainty of nothing."""


def rank_correlation(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Spearman's: that of ranks, where ties share the mean of theirs; see :func:`correlation`.

    Args:
        real: float (..., K), mean returns of K policies.
        imagined: float (..., K).

    >>> float(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 30.0, 20.0])).round(3))
    0.5
    """
    return correlation(_ranks(real), _ranks(imagined))


def correlation(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Pearson's; 0 where imagined returns alone are all alike: they tell nothing.

    NaN where real ones are: there was nothing to tell.
    """
    a, b = (side - side.mean(-1, keepdims=True) for side in (real, imagined))
    flat = [side.max(-1) == side.min(-1) for side in (real, imagined)]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.where(flat[0], np.nan, np.where(flat[1], 0.0, found.round(12)))


def ratio(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Mean imagined return over all policies as a multiple of the real one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return imagined.mean(-1) / real.mean(-1)


def kendall(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Kendall's tau-b, which knows ties; NaN where one side is constant.

    Args:
        real: float (..., K), mean returns of K policies.
        imagined: float (..., K).

    >>> float(kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).round(3))
    0.333
    """
    a, b = (np.sign(side[..., :, None] - side[..., None, :]) for side in (real, imagined))
    scale = np.sqrt((a**2).sum((-1, -2)) * (b**2).sum((-1, -2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum((-1, -2)) / scale


def regret(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Mean normalised regret of choosing between two policies by their imagined return.

    What is lost by the choice, as a share of what the two differ by, pairs that differ by more
    counting for more: 0 where it is always right, 1/2 for a coin, 1 where it is always wrong. NaN
    where all real returns are alike.

    >>> float(regret(np.array([0.0, 10.0, 30.0]), np.array([2.0, 1.0, 3.0])).round(3))
    0.167
    """
    a, b = (side[..., :, None] - side[..., None, :] for side in (real, imagined))
    wrong = (1 - np.sign(a) * np.sign(b)) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.abs(a) * wrong).sum((-1, -2)) / np.abs(a).sum((-1, -2))


def regret_of_the_best(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """The same of choosing the best of all: lost return as a share of that between best and worst.

    Among equals in imagination the mean counts.

    >>> float(regret_of_the_best(np.array([0.0, 10.0, 30.0]), np.array([2.0, 4.0, 3.0])).round(3))
    0.667
    """
    chosen = imagined == imagined.max(-1, keepdims=True)
    got = (real * chosen).sum(-1) / chosen.sum(-1)
    best, worst = real.max(-1), real.min(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (best - got) / (best - worst)


STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "spearman": rank_correlation,
    "pearson": correlation,
    "ratio": ratio,
    "kendall": kendall,
    "regret": regret,
    "regret_of_the_best": regret_of_the_best,
    "bias": lambda real, imagined: (imagined - real).mean(-1),
    "mae": lambda real, imagined: np.abs(imagined - real).mean(-1),
}


def agreement(
    real: Strata,
    imagined: Strata,
    *,
    resample_policies: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Agreement of mean returns, with intervals over policies and their episodes.

    There is no interval (NaN) with fewer than :data:`FEWEST_POLICIES`, or where a policy played one
    episode only.

    Args:
        real: episode returns in the real environment, one array per policy.
        imagined: episode returns in the imagined one, in the same order of policies.
        resample_policies: False for intervals over episodes alone, of these very policies.
        resamples: how many bootstrap samples.
        seed: of the resampling.

    Returns:
        ``spearman``, ``pearson`` and ``ratio`` (imagined over real, of the mean over policies);
        ``kendall`` (tau-b), ``regret`` and ``regret_of_the_best`` (see the functions of these
        names); ``bias`` and ``mae`` of the mean returns, imagined minus real.
    """
    rng = np.random.default_rng(seed)
    chosen = np.tile(np.arange(len(real)), (resamples, 1))
    if resample_policies:
        chosen = rng.integers(len(real), size=(resamples, len(real)))
    means, draws = [], []
    for side in (real, imagined):
        arrays = [np.asarray(returns, np.float64) for returns in side]
        means.append(np.array([returns.mean() for returns in arrays]))
        # A policy that is drawn twice shows the same episodes twice: it ties with itself.
        drawn = [r[rng.integers(len(r), size=(resamples, len(r)))].mean(1) for r in arrays]
        draws.append(np.take_along_axis(np.stack(drawn, axis=1), chosen, axis=1))
    needed = FEWEST_POLICIES if resample_policies else 1
    enough = len(real) >= needed and min(map(len, (*real, *imagined))) > 1
    unknown = np.full(1, np.nan)
    return {
        name: percentile_interval(
            float(statistic(*means)),
            statistic(*draws) if enough else unknown,
            0.95,
            between=name != "ratio",  # which is infinite in a draw without real returns
        )
        for name, statistic in STATISTICS.items()
    }


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis from 1, float (..., K); ties share the mean of their ranks."""
    mine, others = values[..., :, None], values[..., None, :]
    return (mine > others).sum(-1) + ((mine == others).sum(-1) + 1) / 2
