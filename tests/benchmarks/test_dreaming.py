from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.clips import cut_clips, remember_the_past
from benchmarks.dreaming import (
    borrowed_actions,
    imagine,
    make_rollout,
    noise_seeds,
    same_actions,
    sample_futures,
    watch,
)
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.data import open_store
from world_model.types import Context


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(sliding.make_dataset(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def clips(store):
    return cut_clips(store, "validation", 12, context=3, horizon=4, seed=0)


def test_the_perfect_world_repeats_what_happened(clips):
    dream = imagine(sliding.SlidingWorld().make_rollout(), clips, noise_seeds(len(clips), 0))
    np.testing.assert_array_equal(dream.frames[clips.known], clips.frames[clips.known])
    known = ~np.isnan(clips.ended)
    np.testing.assert_array_equal(dream.termination_probability[known], clips.ended[known])


def test_a_real_rollout_is_fed_step_by_step(store):
    """The same frames as by hand, in any division into batches (to rounding)."""
    world = tiny_world()
    clips = cut_clips(store, "train", 3, context=3, horizon=3, seed=0)
    rollout = make_rollout(world, "cpu", 2)
    seeds = noise_seeds(3, 5)
    together = imagine(rollout, clips, seeds)
    apart = imagine(rollout, clips, seeds, batch=2)
    assert np.abs(together.frames.astype(int) - apart.frames.astype(int)).max() <= 1
    one = clips.take(np.array([1]))
    state = rollout.begin(one.context, torch.from_numpy(seeds[1:2]))
    for h in range(3):
        state, outcome = rollout.advance(state, torch.from_numpy(one.actions[:, h]))
        expected = outcome.frames[0].numpy().astype(int)
        assert np.abs(together.frames[1, h].astype(int) - expected).max() <= 1
    assert (together.termination_probability > 0).all(), "it is asked, though nothing may end"


def test_borrowed_actions_come_from_other_episodes(clips):
    other = borrowed_actions(clips, seed=0)
    assert sorted(other[:, :, 0].tolist()) == sorted(clips.actions[:, :, 0].tolist())
    assert (other != clips.actions).any(axis=(1, 2)).mean() > 0.8


def test_samples_differ_where_the_world_is_random_and_only_there(clips):
    same = sample_futures(sliding.SlidingWorld().make_rollout(), clips, 4, seed=0)
    assert same.shape == (len(clips), 4, *clips.frames.shape[1:])
    assert (same == same[:, :1]).all()
    varied = sample_futures(sliding.SlidingWorld("random").make_rollout(), clips, 4, seed=0)
    assert (varied != varied[:, :1]).any()


def test_progress_counts_every_frame(clips):
    counted = []
    rollout = sliding.SlidingWorld().make_rollout()
    imagine(rollout, clips, noise_seeds(len(clips), 0), batch=5, on_frames=counted.append)
    assert sum(counted) == len(clips) * clips.horizon


def test_real_frames_and_imagined_ones_agree_on_the_first_step(tmp_path):
    """Its hazard is read before anything is imagined; afterwards the two part ways."""
    world = tiny_world()
    store = open_store(sliding.make_dataset(tmp_path, 30))
    clips = cut_clips(store, "train", 5, context=3, horizon=3, seed=0)
    clips = remember_the_past(clips, store, world)
    watched = watch(world, clips)
    real = watched.termination_probability
    dream = imagine(make_rollout(world, "cpu"), clips, noise_seeds(5, 0))
    np.testing.assert_allclose(real[:, 0], dream.termination_probability[:, 0], rtol=1e-4)
    assert not np.allclose(real[:, 2], dream.termination_probability[:, 2], rtol=1e-4)
    assert clips.context.outcome_memory.abs().sum() > 0
    forgetful = Context(clips.context.frames, clips.context.actions)
    other = replace(clips, context=forgetful)
    assert not torch.equal(
        torch.from_numpy(real),
        torch.from_numpy(watch(world, other).termination_probability),
    )


def test_a_world_without_outcomes(tmp_path):
    store = open_store(sliding.make_dataset(tmp_path, 10))
    clips = cut_clips(store, "train", 2, context=3, horizon=2, seed=0)
    assert watch(tiny_world(outcome=False), clips) is None


def test_outcomes_of_real_frames_are_those_that_were_recorded(store):
    world = sliding.SlidingWorld(eye=True)
    clips = cut_clips(store, "train", 60, context=2, horizon=5, seed=0)
    clips = remember_the_past(clips, store, world)
    seen = watch(world, clips)
    np.testing.assert_array_equal(seen.rewards[clips.known], clips.rewards[clips.known])
    known = ~np.isnan(clips.ended)
    np.testing.assert_allclose(seen.termination_probability[known], clips.ended[known], atol=1e-6)
    assert clips.ended[known].sum() > 0
    assert clips.rewards[clips.known].sum() > 0


def test_clips_that_were_lent_their_own_actions_are_counted(store):
    clips = cut_clips(store, "validation", 40, context=3, horizon=4, seed=0)
    count, lent = same_actions(clips, 0), borrowed_actions(clips, 0)
    for h in range(clips.horizon):
        expected = sum(
            clips.known[i, h] and np.array_equal(lent[i, : h + 1], clips.actions[i, : h + 1])
            for i in range(len(clips))
        )
        assert count[h] == expected
    assert count[0] > count[-1]
