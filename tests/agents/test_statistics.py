import numpy as np
import pytest

from agents.statistics import (
    difference_interval,
    interquartile_mean,
    iqm_interval,
    mean_interval,
    rank_agreement,
    rank_agreement_difference,
    ranks,
    spearman,
)


def test_mean_interval_is_the_textbook_one_for_many_samples():
    samples = np.random.default_rng(0).normal(10, 4, size=400)
    interval = mean_interval(samples)
    error = samples.std() / np.sqrt(400)
    assert interval.estimate == pytest.approx(samples.mean())
    assert interval.low == pytest.approx(samples.mean() - 1.96 * error, abs=0.06)
    assert interval.high == pytest.approx(samples.mean() + 1.96 * error, abs=0.06)


def test_interval_of_two_samples_by_hand():
    # The mean of two draws from {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert mean_interval([0.0, 1.0], confidence=0.95).to_dict() == {
        "estimate": 0.5,
        "low": 0.0,
        "high": 1.0,
        "confidence": 0.95,
    }
    inner = mean_interval([0.0, 1.0], confidence=0.4)
    assert (inner.low, inner.high) == (0.5, 0.5)


def test_constant_samples_have_no_width():
    interval = iqm_interval([3.0] * 10)
    assert (interval.estimate, interval.low, interval.high) == (3.0, 3.0, 3.0)


def test_seeded():
    samples = np.arange(30.0)
    assert mean_interval(samples, seed=1) == mean_interval(samples, seed=1)
    assert mean_interval(samples, seed=1) != mean_interval(samples, seed=2)


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -70.0])) == 3.5
    assert interquartile_mean(np.array([5.0])) == 5.0


def test_strata_are_kept_unless_resampled():
    strata = [np.zeros(10), np.full(10, 100.0)]
    # Inside a stratum nothing varies; between strata everything does.
    kept = mean_interval(strata)
    assert (kept.low, kept.high) == (50.0, 50.0)
    drawn = mean_interval(strata, resample_strata=True)
    assert (drawn.low, drawn.high) == (0.0, 100.0)


def test_difference():
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 1, 200), rng.normal(3, 1, 200)
    interval = difference_interval(a, b)
    assert interval.estimate == pytest.approx(a.mean() - b.mean())
    assert 1.7 < interval.low < interval.estimate < interval.high < 2.3
    # Half the width is 1.96 times the root of the summed squared errors.
    width = 1.96 * np.sqrt(a.var() / 200 + b.var() / 200)
    assert (interval.high - interval.low) / 2 == pytest.approx(width, rel=0.06)


def test_ranks_share_ties():
    assert ranks([3, 1, 3, 3]).tolist() == [3.0, 1.0, 3.0, 3.0]


def test_spearman_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1.0
    # 1 - 6 * sum(d^2) / (n (n^2 - 1)) with d = (0, 1, -1, 0, 0)
    assert spearman([1, 2, 3, 4, 5], [1, 3, 2, 4, 5]) == pytest.approx(0.9)
    # With ties: Pearson of (1, 2.5, 2.5, 4) and (1, 2, 3, 4) = 4.5 / sqrt(4.5 * 5)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(22.5))
    assert spearman([1, 1, 1], [1, 2, 3]) == 0.0


def test_rank_agreement_narrows_with_clear_differences():
    rng = np.random.default_rng(0)
    clear = [rng.normal(mean, 1, 20) for mean in (0, 20, 40, 60)]
    blurred = [rng.normal(mean, 50, 20) for mean in (0, 2, 4, 6)]
    sure = rank_agreement(clear, clear, resamples=500)
    assert (sure.estimate, sure.low, sure.high) == (1.0, 1.0, 1.0)
    unsure = rank_agreement(clear, blurred, resamples=500)
    assert unsure.low < unsure.high


def test_what_was_seen_once_has_no_interval():
    """Resampling it would claim perfect certainty."""
    once, twice = [np.array([3.0])], [np.array([3.0, 5.0])]
    for interval in (
        mean_interval([3.0]),
        iqm_interval([3.0]),
        mean_interval([*twice, *once]),  # within each stratum: the second cannot vary
        mean_interval(once, resample_strata=True),
        difference_interval(twice, once),
        difference_interval(once, twice),
        rank_agreement([*twice, *once], [*twice, *twice], resamples=9),
        rank_agreement([*twice, *twice], [*twice, *once], resamples=9),
        rank_agreement_difference([*twice, *once], [*twice, *twice], [*twice, *twice], resamples=9),
    ):
        assert not interval.known
        assert not np.isnan(interval.estimate)
        assert str(interval).endswith(" (no interval)")
        assert interval.to_json()["low"] is interval.to_json()["high"] is None
    # New seeds would be others: two of them say how much.
    assert mean_interval([*once, np.array([5.0])], resample_strata=True).to_json()["low"] == 3
    assert mean_interval(twice).known
    assert str(mean_interval(twice)) == "4.00 [3.00, 5.00]"


def test_no_samples():
    with pytest.raises(ValueError, match="no samples"):
        mean_interval([])
    with pytest.raises(ValueError, match="no samples"):
        mean_interval([np.array([1.0]), np.array([])])
    with pytest.raises(ValueError, match="same policies twice"):
        rank_agreement([np.ones(2)], [np.ones(2)])


def test_rankings_are_compared_on_the_same_real_episodes():
    rng = np.random.default_rng(0)
    real = [rng.normal(mean, 30, 20) for mean in (0, 20, 40, 60)]
    backwards = [side[::-1] for side in real[::-1]]
    same = rank_agreement_difference(real, real, real, resamples=500)
    assert same.estimate == 0
    assert same.low < 0 < same.high
    worse = rank_agreement_difference(real, backwards, real, resamples=500)
    assert worse.estimate == -2
    assert worse.high < 0
    with pytest.raises(ValueError, match="same policies twice"):
        rank_agreement_difference(real, real, real[:2])
