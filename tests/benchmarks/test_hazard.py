import numpy as np
import pytest
import torch

from benchmarks.clips import cut_clips, remember_the_past
from benchmarks.dreaming import imagine, make_rollout, noise_seeds
from benchmarks.hazard import hazard_on_real_frames, reliability_bins, score_hazard
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.data import open_store
from world_model.types import Context


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


def test_real_frames_and_imagined_ones_agree_on_the_first_step(tmp_path):
    """Its hazard is read before anything is imagined; afterwards the two part ways."""
    world = tiny_world()
    store = open_store(sliding.make_dataset(tmp_path, 30))
    clips = cut_clips(store, "train", 5, context=3, horizon=3, seed=0)
    clips = remember_the_past(clips, store, world)
    real = hazard_on_real_frames(world, clips)
    dream = imagine(make_rollout(world, "cpu"), clips, noise_seeds(5, 0))
    np.testing.assert_allclose(real[:, 0], dream.termination_probability[:, 0], rtol=1e-4)
    assert not np.allclose(real[:, 2], dream.termination_probability[:, 2], rtol=1e-4)
    assert clips.context.outcome_memory.abs().sum() > 0
    forgetful = Context(clips.context.frames, clips.context.actions)
    assert not torch.equal(
        torch.from_numpy(real),
        torch.from_numpy(hazard_on_real_frames(world, _with(clips, forgetful))),
    )


def test_a_world_without_outcomes(tmp_path):
    store = open_store(sliding.make_dataset(tmp_path, 10))
    clips = cut_clips(store, "train", 2, context=3, horizon=2, seed=0)
    assert hazard_on_real_frames(tiny_world(outcome=False), clips) is None


def _with(clips, context):
    from dataclasses import replace

    return replace(clips, context=context)
