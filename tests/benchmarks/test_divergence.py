import numpy as np
import pytest

from benchmarks.divergence import divergence_time, divergence_times


def slowly(inside, window):
    """The definition, word by word."""
    steps, width = len(inside), min(window, len(inside))

    def left(t):
        start = min(max(0, t - (width - 1) // 2), steps - width)
        return inside[start : start + width].mean() < 0.5

    for t in range(steps):
        if not inside[t] and all(left(u) for u in range(t, steps)):
            return t + 1
    return None


@pytest.mark.parametrize("last", [0, 1, 49, 120, 249])
def test_what_leaves_at_once_diverges_there(last):
    assert divergence_time(np.arange(300) < last) == last + 1


def test_what_comes_back_has_not_diverged():
    away = np.ones(300, bool)
    away[100:240] = False
    assert divergence_time(away) is None  # 60 of the last 100 are inside
    away[100:260] = False
    assert divergence_time(away) == 101  # 40: it may only have looked in


def test_what_blinks_has_not_diverged():
    assert divergence_time(np.arange(300) % 10 < 6) is None
    assert divergence_time(np.arange(300) % 10 < 4) == 5


def test_of_the_last_half_window_nothing_is_said():
    assert divergence_time(np.arange(300) < 250) is None
    assert divergence_time(np.arange(300) < 249) == 250


def test_a_short_episode_is_one_window():
    assert divergence_time(np.arange(20) < 9) == 10
    assert divergence_time(np.arange(20) < 10) is None
    assert divergence_time(np.zeros(0, bool)) is None


def test_as_the_definition_says():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        fading = np.linspace(rng.random(), rng.random(), 60)
        inside = rng.random(60) < fading
        expected = slowly(inside, 7)
        assert divergence_time(inside, 7) == expected
        seen.add(expected is None)
    assert seen == {True, False}


def test_statistics_are_asked_alone_and_together():
    within = np.ones((300, 2), bool)
    within[200:, 0] = False  # the first leaves at step 201
    within[::10, 1] = False  # the second is outside now and then
    found = divergence_times(within, ("mean", "change"))
    assert (found["window"], found["least"]) == (100, 0.5)
    assert found["statistics"] == {"mean": 201, "change": None}
    assert 190 < found["overall"] <= 201  # together less than half is inside a little earlier
