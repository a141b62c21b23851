"""Seeds of episodes: every episode of a stream follows from the stream's first seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHORT_SEEDS = 0x7FFFFFFF
"""What environments of others are given of a seed: they often take 31 bits only."""
UNSEEDED = -1
"""Stands for the first seed of a stream that has none yet."""

_MASK = (1 << 64) - 1


def mix(value: int) -> int:
    """Hashes a 64-bit number to a 64-bit number (the finaliser of SplitMix64)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def episode_seed(first: int, episode: int) -> int:
    """Seed of the ``episode``-th episode (from 0) of a stream whose first seed is ``first``.

    The first episode has the seed that was asked for, so a later one can be repeated alone:
    ``reset(seed=info["episode_seed"])``. A function of counters instead of a generator's state:
    no stream's seeds depend on how often another one, or anybody's global generator, was used.

    >>> episode_seed(7, 0)
    7
    >>> episode_seed(7, 1) == episode_seed(7, 1) != episode_seed(8, 1)
    True
    """
    if episode == 0:
        return first % (1 << 63)
    return mix(mix(first & _MASK) + episode) >> 1  # 63 bits: fits an int64


def draw_index(seed: int, count: int, purpose: int = 0) -> int:
    """An index in [0, ``count``) that is a pure function of ``seed`` and ``purpose``."""
    # The multiply-shift of the high bits has no modulo bias worth naming at these counts.
    return (mix(mix(seed & _MASK) + purpose) * count) >> 64


@dataclass(frozen=True)
class EpisodeSeeds:
    """Where ``B`` streams are in their sequences of episodes; the arrays are written in place."""

    firsts: np.ndarray
    """int64 (B,), the seed that each stream started from, or ``UNSEEDED``."""
    episodes: np.ndarray
    """int64 (B,), how many episodes each stream has had before the present one."""

    @classmethod
    def unseeded(cls, count: int) -> EpisodeSeeds:
        """``count`` streams that have had no episode."""
        return cls(np.full(count, UNSEEDED, np.int64), np.zeros(count, np.int64))

    def values(self) -> np.ndarray:
        """The seeds of the present episodes, int64 (B,)."""
        pairs = zip(self.firsts.tolist(), self.episodes.tolist(), strict=True)
        return np.array([episode_seed(first, episode) for first, episode in pairs], np.int64)

    def upcoming(self, seeds: Sequence[int | None]) -> EpisodeSeeds:
        """What the next episode of every stream has.

        Args:
            seeds: B seeds. One that is None goes on in the stream's sequence, which begins with
                fresh entropy if it has not begun.

        Raises:
            ValueError: if a seed is negative.
        """
        upcoming = EpisodeSeeds(self.firsts.copy(), self.episodes + 1)
        for i, seed in enumerate(seeds):
            if seed is None and self.firsts[i] == UNSEEDED:
                seed = int(np.random.default_rng().integers(2**31))
            if seed is not None:
                if seed < 0:
                    raise ValueError(f"seed={seed}: expected a whole number of at least 0.")
                upcoming.firsts[i], upcoming.episodes[i] = episode_seed(int(seed), 0), 0
        return upcoming

    def select(self, indices: np.ndarray) -> EpisodeSeeds:
        """Those of the streams at ``indices``, as a copy."""
        return EpisodeSeeds(self.firsts[indices], self.episodes[indices])

    def put(self, indices: np.ndarray, other: EpisodeSeeds) -> None:
        """Writes ``other``, of as many streams or of one, over the streams at ``indices``."""
        self.firsts[indices], self.episodes[indices] = other.firsts, other.episodes
