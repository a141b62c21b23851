import numpy as np
import pytest

from agents.agreement import (
    agreement,
    correlation,
    kendall,
    rank_correlation,
    regret,
    regret_of_the_best,
)
from agents.statistics import rank_agreement, spearman

LEVELS = np.linspace(0, 100, 10)


def played(levels, spread=1.0, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread, (len(levels), 30))
    return list(np.asarray(levels)[:, None] + noise - noise.mean(1, keepdims=True))


def test_a_world_that_ranks_and_pays_as_reality():
    found = agreement(played(LEVELS), played(LEVELS, seed=1))
    assert found["kendall"].estimate == 1
    assert found["regret"].estimate == found["regret_of_the_best"].estimate == 0
    assert found["bias"].estimate == pytest.approx(0, abs=1e-9)
    assert found["kendall"].low > 0.9


def test_a_world_upside_down():
    found = agreement(played(LEVELS), played(-LEVELS))
    assert found["kendall"].estimate == -1
    assert found["regret"].estimate == found["regret_of_the_best"].estimate == 1


def test_a_world_that_overpays_ranks_all_the_same():
    found = agreement(played(LEVELS), played(LEVELS + 30))
    assert found["kendall"].estimate == 1
    assert found["bias"].estimate == found["mae"].estimate == pytest.approx(30)


def test_a_world_where_all_are_alike_is_no_better_than_a_coin():
    same = np.full(10, 7.0)
    assert regret(LEVELS, same) == 0.5
    assert regret_of_the_best(LEVELS, same) == 0.5
    assert np.isnan(kendall(LEVELS, same))


def test_tau_b_with_ties_as_counted_by_hand():
    # Pairs: (1,2) tied in x, (1,3) and (2,3) agree: (2 - 0) / sqrt(2 * 3).
    assert kendall(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(
        2 / np.sqrt(6)
    )


def test_the_interval_speaks_of_other_policies_too():
    """Episodes are all alike, so what is uncertain is which policies there are."""
    real = [np.full(5, level) for level in LEVELS]
    imagined = [np.full(5, level + 10 * (level > 50)) for level in LEVELS]
    bias = agreement(real, imagined)["bias"]
    assert bias.estimate == 5
    assert bias.low < 4
    assert bias.high > 6


def test_few_policies_or_episodes_give_no_interval():
    once = [np.array([level]) for level in LEVELS]
    two = played(LEVELS[:2])
    for found in (agreement(once, once), agreement(played(LEVELS), once), agreement(two, two)):
        for interval in found.values():
            assert not interval.known
            assert not np.isnan(interval.estimate)
    assert agreement(played(LEVELS[:3]), played(LEVELS[:3]))["bias"].known


def test_correlations_as_others_count_them():
    rng = np.random.default_rng(0)
    real, imagined = rng.integers(0, 4, (2, 50, 6)).astype(float)  # with many ties
    varied = [i for i in range(50) if np.ptp(real[i]) and np.ptp(imagined[i])]
    for i in varied:
        ours = rank_correlation(real[i], imagined[i])
        assert ours == pytest.approx(spearman(real[i], imagined[i]))
        pearson = np.corrcoef(real[i], imagined[i])[0, 1]
        assert correlation(real[i], imagined[i]) == pytest.approx(pearson)
    assert len(varied) > 40
    assert rank_correlation(real, imagined)[varied[7]] == pytest.approx(
        spearman(real[varied[7]], imagined[varied[7]])
    )


def test_a_world_that_pays_all_alike_ranks_nobody():
    """And where reality does, there is nothing to rank."""
    same = np.full(10, 7.1)
    assert correlation(LEVELS, same) == rank_correlation(LEVELS, same) == 0
    assert np.isnan(correlation(same, LEVELS))
    flat = agreement(played(LEVELS), [np.full(30, 7.1)] * 10)["spearman"]
    assert (flat.low, flat.estimate, flat.high) == (0, 0, 0)


def test_over_policies_spearman_is_wider_than_over_episodes():
    """Half of the policies are ranked, the others are not: it matters which there are."""
    levels = np.concatenate([LEVELS[:5], LEVELS[9:4:-1]])
    real, imagined = played(LEVELS), played(levels, seed=1)
    both = agreement(real, imagined)
    alone = agreement(real, imagined, resample_policies=False)
    published = rank_agreement(real, imagined)
    for name in ("spearman", "pearson", "ratio"):
        assert both[name].estimate == alone[name].estimate
        assert both[name].high - both[name].low > 3 * (alone[name].high - alone[name].low)
    assert (alone["spearman"].low, alone["spearman"].high) == (published.low, published.high)


def test_without_real_returns_the_ratio_is_no_number():
    found = agreement([np.zeros(5)] * 4, [np.ones(5)] * 4)["ratio"]
    assert found.to_json() == {"estimate": None, "low": None, "high": None, "confidence": 0.95}
