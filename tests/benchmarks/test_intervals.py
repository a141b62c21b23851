import numpy as np

from benchmarks.intervals import mean_intervals, ratio_intervals


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
