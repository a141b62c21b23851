from __future__ import annotations

import numpy as np

from nfd_env.seeding import draw_index, episode_seed


def test_first_episode_has_the_seed_that_was_asked_for():
    assert episode_seed(123, 0) == 123
    assert 0 <= episode_seed(2**80 + 5, 0) < 2**63


def test_later_episodes_differ_from_each_other_and_between_streams():
    seeds = {episode_seed(first, episode) for first in range(50) for episode in range(50)}
    # 50 of them are the first seeds themselves.
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_indices_are_spread_evenly_and_depend_on_the_purpose():
    indices = [draw_index(seed, 10) for seed in range(5000)]
    counts = np.bincount(indices, minlength=10)
    assert len(counts) == 10
    assert counts.min() > 400
    assert indices != [draw_index(seed, 10, purpose=1) for seed in range(5000)]
