"""The formulas of when speculation pays, against simulations and numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from world_model.speculation.gain import (
    RunningMean,
    accepted_run,
    ahead_pays,
    ahead_seconds,
    best_ahead_depth,
    best_joint_depth,
    joint_speed_up,
)


@pytest.mark.parametrize(("repeat", "depth"), [(0.0, 4), (0.5, 3), (0.9, 4), (1.0, 4)])
def test_accepted_run_is_the_mean_run_of_repeats(repeat, depth):
    rng = np.random.default_rng(0)
    repeats = rng.random((20_000, depth - 1)) < repeat
    runs = 1 + np.cumprod(repeats, axis=1).sum(axis=1)
    assert accepted_run(repeat, depth) == pytest.approx(runs.mean(), abs=0.03)


@pytest.mark.parametrize(("cost", "speed_up"), [(0.0, 3.44), (0.25, 1.97), (1.0, 0.86)])
def test_speed_up_at_nine_repeats_in_ten_and_four_frames(cost, speed_up):
    assert joint_speed_up(0.9, 4, cost) == pytest.approx(speed_up, abs=0.005)


def test_joint_speculation_switches_itself_off_where_it_loses():
    assert best_joint_depth(0.0, 0.1, 8) == 1
    assert best_joint_depth(0.9, 1.0, 8) == 1
    assert best_joint_depth(1.0, 0.5, 8) == 8
    assert 1 < best_joint_depth(0.8, 0.1, 8) < 8


def test_ahead_hides_the_shorter_of_the_two_times():
    assert ahead_seconds(1.0, 5.0, 3.0) == 5.0
    assert ahead_seconds(1.0, 3.0, 5.0) == 5.0
    assert ahead_seconds(0.5, 5.0, 4.0) == 7.0
    assert ahead_pays(0.5, 5.0, 4.0)  # 7 instead of 9 seconds
    assert not ahead_pays(0.0, 5.0, 4.0)
    assert not ahead_pays(1.0, 0.0, 4.0)


def test_depth_ahead_follows_the_agents_time_and_the_odds():
    assert best_ahead_depth(1.0, 10.0, 1.0, 4) == 4
    assert best_ahead_depth(0.99, 2.5, 1.0, 8) == 3
    assert best_ahead_depth(0.8, 10.0, 1.0, 8) == 3  # 0.8 ** 3 is above a half, 0.8 ** 4 is not
    assert best_ahead_depth(0.0, 10.0, 1.0, 8) == 1


def test_a_running_mean_forgets():
    mean = RunningMean(memory=4)
    for value in (1.0, 3.0):
        mean.add(value)
    assert mean.value == 2.0
    for _ in range(40):
        mean.add(10.0)
    assert mean.value == pytest.approx(10.0, abs=0.01)
    assert mean.count == 42
