import numpy as np
import pytest
import torch

from benchmarks.clips import clips_at, clips_from_starts, cut_clips, remember_the_past
from tests.benchmarks import sliding
from tests.world_model.data.episodes import make_dataset
from tests.world_model.tiny import tiny_world
from world_model.data import open_store
from world_model.errors import DataError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(make_dataset(tmp_path_factory.mktemp("data"), [9, 4, 30, 12, 7, 2]))


def test_actions_lead_to_their_frames(store):
    """Pixel (0, 0) of frame t is (episode, 0, t), and action t is (episode + t) % 3."""
    clips = clips_at(store, np.array([2]), np.array([5]), context=3, horizon=4)
    assert clips.context.frames[0, :, 0, 0, 2].tolist() == [5, 6, 7]
    assert clips.frames[0, :, 0, 0, 2].tolist() == [8, 9, 10, 11]
    assert clips.context.actions[0, :, 0].tolist() == [(2 + t) % 3 for t in (4, 5, 6)]
    assert clips.actions[0, :, 0].tolist() == [(2 + t) % 3 for t in (7, 8, 9, 10)]
    assert clips.known.all()
    assert (clips.ended == 0).all()
    np.testing.assert_array_equal(clips.labels[0], store.episode(2).labels[8:12])


def test_a_true_start_has_the_null_action(store):
    clips = clips_at(store, np.array([2]), np.array([0]), context=3, horizon=2)
    actions = clips.context.actions[0, :, 0]
    assert torch.isnan(actions[0])
    assert actions[1:].tolist() == [2, 0]


def test_past_the_end_nothing_is_known(store):
    """Episode 4 has 7 frames and 7 actions: the last one terminates, without a frame."""
    clips = clips_at(store, np.array([4]), np.array([2]), context=3, horizon=5)
    assert clips.known[0].tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(clips.ended[0], [0, 0, 1, np.nan, np.nan])
    assert (clips.frames[0, 2:] == 0).all()
    np.testing.assert_array_equal(clips.rewards[0, :3], store.episode(4).rewards[4:7])
    assert np.isnan(clips.rewards[0, 3:]).all()


def test_every_step_is_drawn_at_most_once_and_only_from_the_split(store):
    clips = cut_clips(store, "train", 1000, context=3, horizon=2, seed=0)
    places = set(zip(clips.episodes.tolist(), clips.starts.tolist(), strict=True))
    train = store.split("train")
    expected = sum(max(len(store.episode(i).actions) - 2, 0) for i in train.tolist())
    assert len(places) == len(clips) == expected
    assert set(clips.episodes) <= set(train)


def test_no_episode_is_long_enough(store):
    with pytest.raises(DataError, match="Record longer episodes"):
        cut_clips(store, "train", 5, context=40, horizon=2, seed=0)


def test_starts_are_of_different_episodes(store):
    clips = clips_from_starts(store, "train", 50, context=3, horizon=6, seed=1)
    assert (clips.starts == 0).all()
    assert len(set(clips.episodes)) == len(clips)


def test_the_past_is_remembered_as_if_it_had_been_watched(tmp_path):
    world = tiny_world()
    store = open_store(sliding.make_dataset(tmp_path, 12))
    clips = clips_at(store, np.array([0, 1]), np.array([0, 6]), context=2, horizon=2)
    memory = remember_the_past(clips, store, world).context.outcome_memory
    episode = store.episode(1)
    expected = world.outcome.initial_memory(1)
    for t in range(6):
        produced = np.full((1, 1), np.nan, np.float32) if t == 0 else episode.actions[t - 1][None]
        frame = torch.from_numpy(np.array(episode.frames[t]))[None]
        expected = world.outcome.observe(expected, frame, torch.from_numpy(np.array(produced)))
    torch.testing.assert_close(memory[1], expected[0], atol=1e-4, rtol=1e-4)
    assert (memory[0] == 0).all()


def test_take_takes_everything(store):
    clips = cut_clips(store, "train", 6, context=3, horizon=2, seed=0)
    some = clips.take(np.array([4, 1]))
    assert len(some) == 2
    np.testing.assert_array_equal(some.frames, clips.frames[[4, 1]])
    np.testing.assert_array_equal(some.rewards, clips.rewards[[4, 1]])
    assert torch.equal(some.context.frames, clips.context.frames[[4, 1]])
    np.testing.assert_array_equal(some.last_seen[:, 0], clips.context.frames[[4, 1], -1])
