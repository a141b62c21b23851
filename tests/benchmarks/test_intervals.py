import numpy as np
import pytest

from benchmarks.intervals import mean_intervals, ratio_intervals, sums_interval


def mean_of(sums):
    return sums[:, 0] / sums[:, 1]


def test_ratio_of_sums_not_mean_of_ratios():
    intervals = ratio_intervals(
        np.array([[1.0, 0.0], [9.0, 0.0]]), np.array([[1.0, 0.0], [3.0, 0.0]]), np.arange(2)
    )
    assert intervals[0].estimate == 10 / 4
    assert np.isnan(intervals[1].estimate)


def test_missing_values_do_not_count():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [6.0, 4.0]])
    first, second = mean_intervals(values, np.arange(3))
    assert (first.estimate, second.estimate) == (3.0, 4.0)
    assert second.low == second.high == 4.0


def test_clips_of_one_episode_are_no_independent_evidence():
    rng = np.random.default_rng(0)
    per_episode = rng.normal(size=20)
    alone = mean_intervals(per_episode[:, None], np.arange(20))[0]
    repeated = np.repeat(per_episode, 10)[:, None]
    together = mean_intervals(repeated, np.repeat(np.arange(20), 10))[0]
    naive = mean_intervals(repeated, np.arange(200))[0]
    np.testing.assert_allclose(
        [together.estimate, together.low, together.high], [alone.estimate, alone.low, alone.high]
    )
    assert naive.high - naive.low < 0.5 * (together.high - together.low)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        values = rng.normal(5.0, 2.0, size=(40, 1))
        interval = mean_intervals(values, np.arange(40), resamples=300, seed=trial)[0]
        hits += interval.low <= 5.0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_one_network_changes_nothing():
    values = np.random.default_rng(2).normal(size=(30, 2))
    episodes = np.repeat(np.arange(10), 3)
    assert mean_intervals(values[None], episodes, networks=True) == mean_intervals(values, episodes)
    sums = np.stack([values[:, 0], np.ones(30)], axis=1)
    alone = sums_interval(sums, episodes, mean_of)
    assert sums_interval(sums[None], episodes, mean_of, networks=True) == alone
    assert alone.estimate == pytest.approx(mean_intervals(values, episodes)[0].estimate)


def test_networks_that_agree_add_no_doubt_and_others_do():
    rng = np.random.default_rng(3)
    values, episodes = rng.normal(size=(40, 1)), np.arange(40)
    alone = mean_intervals(values, episodes)[0]
    agreeing = mean_intervals(np.stack([values] * 3), episodes, networks=True)[0]
    np.testing.assert_allclose(
        [agreeing.estimate, agreeing.low, agreeing.high], [alone.estimate, alone.low, alone.high]
    )
    apart = np.stack([values - 2, values, values + 2])
    disputed = mean_intervals(apart, episodes, networks=True)[0]
    assert disputed.estimate == pytest.approx(alone.estimate)
    # Of three networks, all that are drawn are the lowest once in 27 times, which is more than the
    # 2.5 % that lie below the interval.
    assert disputed.low < alone.estimate - 1.5
    assert disputed.high > alone.estimate + 1.5


def test_a_single_episode_has_no_interval_whatever_the_number_of_networks():
    values = np.arange(6.0).reshape(2, 3, 1)
    mean = mean_intervals(values, np.zeros(3, int), networks=True)[0]
    ratio = sums_interval(
        np.concatenate([values, np.ones_like(values)], -1),
        np.zeros(3, int), mean_of, networks=True,
    )  # fmt: skip
    for interval in (mean, ratio):
        assert interval.estimate == pytest.approx(2.5)
        assert np.isnan([interval.low, interval.high]).all()
