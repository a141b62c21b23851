import numpy as np
import pytest

from benchmarks.reward_scores import score_rewards

EPISODES = np.arange(40) // 2


def rare(seed=0, share=0.1, values=(1.0, -1.0)):
    rng = np.random.default_rng(seed)
    return np.where(rng.random((40, 9)) < share, rng.choice(values, (40, 9)), 0.0)


def test_perfect_predictions():
    real = rare()
    scores = score_rewards(real, real, EPISODES)
    assert scores["mae"]["estimate"] == scores["bias"]["estimate"] == 0
    assert scores["correlation"]["estimate"] == pytest.approx(1)
    assert scores["events"]["f1"]["low"] == 1
    assert scores["return"]["mae"]["estimate"] == 0
    assert scores["mae"]["n"] == 360
    assert scores["events"]["f1"]["n"] == scores["events"]["real"] == (real != 0).sum()
    assert scores["return"]["mae"]["n"] == 40


def test_against_an_independent_computation():
    rng = np.random.default_rng(1)
    real = rare(2)
    predicted = real * 0.8 + rng.normal(0, 0.3, real.shape)
    real[rng.random(real.shape) < 0.2] = np.nan
    known = ~np.isnan(real)
    scores = score_rewards(predicted, real, EPISODES)
    x, y = predicted[known], real[known]
    assert scores["mae"]["estimate"] == pytest.approx(np.abs(x - y).mean())
    assert scores["mae_base"]["estimate"] == pytest.approx(np.abs(y).mean())
    assert scores["correlation"]["estimate"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    called, event = np.abs(x) > 0.5, y != 0
    hits = (called & event & (np.sign(x) == np.sign(y))).sum()
    events = scores["events"]
    assert events["precision"]["estimate"] == pytest.approx(hits / called.sum())
    assert events["recall"]["estimate"] == pytest.approx(hits / event.sum())
    difference = np.where(known, predicted - real, 0).sum(1)
    assert scores["return"]["mae"]["estimate"] == pytest.approx(np.abs(difference).mean())
    assert scores["return"]["bias"]["estimate"] == pytest.approx(difference.mean())
    for name in ("mae", "bias", "correlation"):
        assert scores[name]["low"] < scores[name]["estimate"] < scores[name]["high"]


def test_a_reward_of_the_wrong_sign_is_no_hit():
    real = rare(share=0.2)
    assert score_rewards(-real, real, EPISODES)["events"]["f1"]["estimate"] == 0


def test_a_step_late_is_nearly_the_same_return_but_no_hit():
    real = np.zeros((40, 9))
    real[:, 4] = 1
    scores = score_rewards(np.roll(real, 1, axis=1), real, EPISODES)
    assert scores["return"]["mae"]["estimate"] == 0
    assert scores["events"]["recall"]["estimate"] == 0
    assert scores["mae"]["estimate"] == pytest.approx(2 / 9)


def test_constant_predictions_do_not_correlate():
    assert score_rewards(np.zeros((40, 9)), rare(), EPISODES)["correlation"]["estimate"] == 0


def test_where_every_reward_is_the_same_there_is_nothing_to_find():
    scores = score_rewards(np.full((40, 9), 3.5), np.full((40, 9), 4.0), EPISODES)
    assert scores["mae"]["estimate"] == pytest.approx(0.5)
    assert scores["correlation"] is None
    assert scores["events"] is None
    assert scores["not_measured"]["events"] == "every reward of these 360 steps is 4"


def test_dense_rewards_are_no_events():
    real = np.random.default_rng(0).normal(size=(40, 9))
    scores = score_rewards(real, real, EPISODES)
    assert scores["events"] is None
    assert "not rare" in scores["not_measured"]["events"]
    assert scores["correlation"]["estimate"] == pytest.approx(1)
