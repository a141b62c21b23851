import numpy as np
import pytest

from benchmarks import agent_statistics as statistics
from benchmarks.agent_statistics import Group

RNG = np.random.default_rng(0)


def episodes(mean, agents=3, count=40, spread=1.0):
    noise = RNG.normal(0, spread, (agents, count))
    return [row - row.mean() + mean for row in noise]


def test_the_gap_of_an_honest_world_is_zero_and_of_a_flattering_one_is_not():
    random, best = (Group(episodes(m, 1), episodes(m, 1)) for m in (0.0, 10.0))
    scale = statistics.make_scale(random, best, seed=0)
    assert scale.estimate == pytest.approx(10)
    honest = statistics.gap_interval(Group(episodes(5), episodes(5)), 0, scale)
    assert honest.estimate == pytest.approx(0, abs=1e-9)
    assert honest.low < 0 < honest.high
    flattered = statistics.gap_interval(Group(episodes(5), episodes(20)), 0, scale)
    assert flattered.estimate == pytest.approx(1.5)
    assert 1.2 < flattered.low < 1.5 < flattered.high < 1.8


def test_a_world_that_overpays_everyone_was_not_exploited():
    random = Group(episodes(1, 1), episodes(4, 1))
    agents = Group(episodes(6), episodes(9))
    beyond = statistics.gap_beyond(agents, random, 0)
    assert beyond.estimate == pytest.approx(0, abs=1e-9)
    assert statistics.gap_interval(agents, 0).estimate == pytest.approx(3)


def test_the_interval_of_several_agents_speaks_of_new_ones():
    apart = [np.full(50, value) for value in (0.0, 10.0)]
    same = [np.zeros(50), np.zeros(50)]
    interval = statistics.lead_interval(apart, same, 0)
    # Episodes of an agent are all alike: what is uncertain is which agents one gets.
    assert (interval.low, interval.estimate, interval.high) == (0, 5, 10)


def test_both_games_are_played_by_the_same_agents():
    """Agents differ by much, each is worth in one game what it is in the other: no gap."""
    returns = [np.full(20, value) for value in (0.0, 50.0, 100.0)]
    gap = statistics.gap_interval(Group(returns, returns), 0)
    assert (gap.low, gap.estimate, gap.high) == (0, 0, 0)


def test_no_scale_where_nobody_beats_chance():
    random = Group(episodes(5, 1), episodes(5, 1))
    assert statistics.make_scale(random, random, 0) is None


def test_chance_to_win():
    high, low = [np.array([2.0, 3.0, 4.0])] * 2, [np.array([0.0, 1.0])]
    assert statistics.improvement_interval(high, low, 0).low == 1
    assert statistics.improvement_interval(low, high, 0).high == 0
    assert statistics.improvement_interval(low, low, 0).estimate == 0.5


def test_one_episode_gives_no_interval():
    """But one episode each of several agents says how much agents differ."""
    once, more = [np.array([2.0])], [np.array([1.0, 3.0])]
    group = Group(more, once)
    scale = statistics.make_scale(Group(once, once), Group([np.array([9.0])], once), 0)
    assert scale.estimate == 7
    for interval in (
        statistics.lead_interval(once, more, 0),
        statistics.lead_interval(more, once, 0),
        statistics.improvement_interval(once, more, 0),
        statistics.improvement_interval(more, once, 0),
        statistics.gap_interval(group, 0),
        statistics.gap_interval(Group(more, more), 0, scale),
        statistics.gap_beyond(Group(more, more), group, 0),
    ):
        assert not interval.known
        assert not np.isnan(interval.estimate)
    assert statistics.lead_interval([np.array([2.0]), np.array([4.0])], more, 0).known
