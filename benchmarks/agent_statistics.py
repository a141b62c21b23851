"""Gaps and leads of groups of agents, with bootstrap intervals over agents and their episodes.

A group is one way to train; its agents differ by their seed only. A bootstrap sample draws agents
with replacement, and episodes of each: the interval speaks of agents yet to be trained that way. A
group of one agent resamples its episodes only, and its interval speaks of that agent. One agent in
one episode has no interval: its ends are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.statistics import Interval, percentile_interval

RESAMPLES = 5000


@dataclass(frozen=True)
class Group:
    """What ``A`` agents earned, episode by episode."""

    real: Sequence[np.ndarray]
    """Returns in the real game, one array for each agent."""
    imagined: Sequence[np.ndarray]
    """Returns in the imagined game, in the same order."""

    def means(self) -> tuple[float, float]:
        """Mean returns in both games; agents count alike."""
        return (
            float(np.mean([r.mean() for r in self.real])),
            float(np.mean([r.mean() for r in self.imagined])),
        )


@dataclass(frozen=True)
class Draws:
    """Means of a group in every bootstrap sample, float64 (R,) each."""

    real: np.ndarray
    imagined: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """What was promised and not kept."""
        return self.imagined - self.real


def draw(group: Group, seed: int, resamples: int = RESAMPLES) -> Draws:
    """Bootstrap samples of a group; in each, both games are played by the same agents."""
    rng = np.random.default_rng(seed)
    times = _times_drawn(len(group.real), rng, resamples)
    sides = []
    for side in (group.real, group.imagined):
        sums = [
            weights @ returns / len(returns)
            for returns, weights in zip(side, _weights(side, times, rng), strict=True)
        ]
        sides.append(np.sum(sums, axis=0) / len(side))
    return Draws(*sides)


@dataclass(frozen=True)
class Scale:
    """What a gap is measured by: the best real return of all who played, minus that of chance."""

    estimate: float
    """Of the episodes themselves."""
    draws: np.ndarray
    """float64 (R,), of every bootstrap sample."""


def make_scale(random: Group, best: Group, seed: int) -> Scale | None:
    """None where the best is no better than chance: then there is nothing to measure by."""
    estimate = best.means()[0] - random.means()[0]
    if estimate <= 0:
        return None
    return Scale(estimate, draw(best, seed).real - draw(random, seed + 1).real)


def gap_interval(group: Group, seed: int, scale: Scale | None = None) -> Interval:
    """Imagined minus real mean return, in returns or in units of ``scale``."""
    real, imagined = group.means()
    return _scaled(imagined - real, draw(group, seed).gap, scale)


def gap_beyond(group: Group, reference: Group, seed: int, scale: Scale | None = None) -> Interval:
    """How much larger the gap of a group is than that of a reference that learned nothing.

    A world that pays everyone too much has a gap without having been exploited; this is the part
    that training added.
    """
    (r, i), (reference_r, reference_i) = group.means(), reference.means()
    draws = draw(group, seed).gap - draw(reference, seed + 1).gap
    return _scaled((i - r) - (reference_i - reference_r), draws, scale)


def lead_interval(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], seed: int) -> Interval:
    """Mean return of one group minus that of another, in the same game."""
    a, b = Group(ours, ours), Group(theirs, theirs)
    return percentile_interval(
        a.means()[0] - b.means()[0], draw(a, seed).real - draw(b, seed + 1).real, 0.95
    )


def improvement_interval(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], seed: int, resamples: int = RESAMPLES
) -> Interval:
    """Chance that an episode of one group earns more than one of the other; ties count half.

    >>> improvement_interval([np.array([2.0, 3.0])], [np.array([1.0, 2.0])], 0).estimate
    0.875
    """
    rng = np.random.default_rng(seed)
    drawn = [
        np.concatenate(_weights(side, _times_drawn(len(side), rng, resamples), rng), axis=1)
        for side in (ours, theirs)
    ]
    mine, others = np.concatenate(list(ours)), np.concatenate(list(theirs))
    wins = (mine[:, None] > others) + (mine[:, None] == others) / 2
    draws = ((drawn[0] @ wins) * drawn[1]).sum(1) / (drawn[0].sum(1) * drawn[1].sum(1))
    return percentile_interval(float(wins.mean()), draws, 0.95)


def _times_drawn(count: int, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """int64 (R, A), how often each agent is drawn."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples)


def _weights(
    side: Sequence[np.ndarray], times: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """How often each episode of each agent is drawn, float64 (R, E): anew each time it is drawn.

    NaN where there is one episode in all: how much it varies nobody knows.
    """
    if len(side) == 1 and len(side[0]) < 2:
        return [np.full((len(times), len(side[0])), np.nan)]
    return [
        rng.multinomial(times[:, i] * len(returns), np.full(len(returns), 1 / len(returns))).astype(
            np.float64
        )
        for i, returns in enumerate(side)
    ]


def _scaled(estimate: float, draws: np.ndarray, scale: Scale | None) -> Interval:
    if scale is None:
        return percentile_interval(estimate, draws, 0.95)
    # A sample in which the best was no better than chance says nothing of the ratio.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(scale.draws > 0, draws / scale.draws, np.nan)
    return percentile_interval(estimate / scale.estimate, ratio, 0.95)
