from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.hazard import hazard_intervals, reliability_bins, score_hazard
from world_model.outcome_metrics import binary_metrics


def draws(count, hazard, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((count, 10)) < hazard).astype(np.float32)


def test_a_calibrated_hazard():
    hazard = np.where(np.arange(10) % 2, 0.3, 0.02) * np.ones((400, 1))
    scored = score_hazard(hazard, draws(400, hazard), np.arange(400))
    assert scored["ratio"]["low"] < 1 < scored["ratio"]["high"]
    assert scored["scores"]["ece"] < 0.02
    assert scored["scores"]["brier"] < scored["scores"]["brier_base"]
    assert scored["bins"][-1]["observed"] == pytest.approx(0.3, abs=0.06)


def test_a_hazard_half_as_large_is_caught():
    hazard = np.full((400, 10), 0.2)
    scored = score_hazard(hazard / 2, draws(400, hazard), np.arange(400))
    assert scored["ratio"]["high"] < 0.7
    assert scored["expected_ends"] == pytest.approx(400)


def test_unknown_steps_do_not_count():
    ended = np.array([[0, 1, np.nan, np.nan], [0, 0, 0, np.nan]])
    scored = score_hazard(np.full((2, 4), 0.25), ended, np.arange(2))
    assert (scored["steps"], scored["ends"], scored["expected_ends"]) == (5, 1, 1.25)


def test_nothing_ends():
    scored = score_hazard(np.full((3, 4), 0.1), np.zeros((3, 4)), np.arange(3))
    assert scored["scores"] is None
    assert scored["ratio"]["estimate"] == float("inf")


def test_bins_hold_all_steps():
    rng = np.random.default_rng(0)
    bins = reliability_bins(rng.random(57), rng.integers(0, 2, 57), bins=10)
    assert sum(b["steps"] for b in bins) == 57
    predicted = [b["predicted"] for b in bins]
    assert predicted == sorted(predicted)


def test_intervals_lie_around_the_scores_of_all_steps():
    rng = np.random.default_rng(3)
    hazard = (rng.random((60, 8)) ** 3).round(2)  # with ties
    ended = (rng.random(hazard.shape) < hazard).astype(np.float64)
    ended[rng.random(ended.shape) < 0.3] = np.nan
    known = ~np.isnan(ended)
    scores = hazard_intervals(hazard, ended, np.arange(60) // 2, threshold=0.3)
    expected = asdict(binary_metrics(hazard[known], ended[known]))
    names = {"brier": "brier", "brier_base": "brier_base", "log_loss": "nll", "auroc": "auroc",
             "log_loss_base": "nll_base", "ece": "ece"}  # fmt: skip
    for ours, theirs in names.items():
        assert scores[ours]["estimate"] == pytest.approx(expected[theirs], abs=1e-9), ours
    called, happened = hazard[known] > 0.3, ended[known] == 1
    hits = (called & happened).sum()
    assert scores["precision"]["estimate"] == hits / called.sum()
    assert scores["recall"]["estimate"] == hits / happened.sum()
    assert scores["f1"]["estimate"] == 2 * hits / (called.sum() + happened.sum())
    for name, interval in scores.items():
        assert interval["low"] < interval["high"], name
        assert interval["n"] == known.sum()
        assert interval["low"] <= interval["estimate"], name


def test_ranks_are_resampled_by_episode():
    """The interval of AUROC is that of ranking every bootstrap sample anew."""
    rng = np.random.default_rng(4)
    hazard, episodes = rng.random((12, 5)).round(1), np.arange(12) // 3
    ended = (rng.random(hazard.shape) < hazard).astype(np.float64)
    scores = hazard_intervals(hazard, ended, episodes, threshold=0.5)
    draws = []
    weights = np.random.default_rng(0).multinomial(4, np.full(4, 1 / 4), size=2000)
    for times in weights[:300]:
        drawn = np.repeat(np.arange(4), times)
        rows = np.concatenate([np.flatnonzero(episodes == episode) for episode in drawn])
        draws.append(binary_metrics(hazard[rows].ravel(), ended[rows].ravel()).auroc)
    interval = scores["auroc"]
    inside = np.mean([interval["low"] <= draw <= interval["high"] for draw in draws])
    assert 0.92 <= inside <= 0.98


def test_nothing_ended_so_nothing_is_ranked():
    scores = hazard_intervals(np.full((3, 4), 0.1), np.zeros((3, 4)), np.arange(3), 0.5)
    assert np.isnan(scores["auroc"]["estimate"])
    assert np.isnan(scores["recall"]["estimate"])
    assert scores["brier"]["estimate"] == pytest.approx(0.01)


def test_one_episode_gives_no_interval():
    ended = np.array([[0.0, 1.0]])
    scores = hazard_intervals(np.array([[0.1, 0.8]]), ended, np.zeros(1), 0.5)
    assert scores["auroc"]["estimate"] == 1
    for interval in scores.values():
        assert np.isnan(interval["low"])
        assert np.isnan(interval["high"])
