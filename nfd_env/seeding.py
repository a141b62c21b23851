"""Seeds of episodes: every episode of a stream follows from the stream's first seed alone."""

from __future__ import annotations

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
