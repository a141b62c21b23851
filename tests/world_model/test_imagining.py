"""Recorded episodes imagined again: each frame under the action that produced the real one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.world_model.data.episodes import INFO, make_dataset, make_episode
from tests.world_model.tiny import tiny_world
from world_model.data import open_store
from world_model.data.writer import write_dataset
from world_model.errors import DataError
from world_model.imagining import (
    episode_context,
    imagine_episodes,
    imagined_sequences,
    retraced_sequences,
)
from world_model.rollout import Rollout
from world_model.types import Episode

CONTEXT = 3


class Recorder:
    """In place of a rollout: notes what it is asked, and imagines frame number ``step``."""

    def __init__(self) -> None:
        self.world = SimpleNamespace(config=SimpleNamespace(context_length=CONTEXT))
        self.contexts, self.seeds, self.actions = [], [], []

    def begin(self, contexts, seeds):
        self.contexts.append(contexts)
        self.seeds.append(seeds)
        self.actions.append([])
        return 0

    def advance(self, state, actions):
        self.actions[-1].append(actions[:, 0].tolist())
        frames = torch.full((len(actions), 6, 8, 3), state, dtype=torch.uint8)
        return state + 1, SimpleNamespace(frames=frames)


def test_context_from_the_start_has_the_null_action():
    episode = make_episode(0, 9)
    frames, actions = episode_context(episode, 4, 4)
    np.testing.assert_array_equal(frames, episode.frames[:4])
    assert np.isnan(actions[0]).all()
    np.testing.assert_array_equal(actions[1:], episode.actions[:3])


def test_context_from_the_middle_has_the_actions_that_led_to_it():
    episode = make_episode(1, 9)
    frames, actions = episode_context(episode, 6, 3)
    np.testing.assert_array_equal(frames, episode.frames[3:6])
    np.testing.assert_array_equal(actions, episode.actions[2:5])


def test_context_up_to_the_last_frame():
    episode = make_episode(1, 9)
    assert len(episode_context(episode, 9, 3)[0]) == 3
    for start in (2, 10):
        with pytest.raises(DataError, match=f"no 3 frames before frame {start}"):
            episode_context(episode, start, 3)


@pytest.mark.parametrize("missing", [True, False])
def test_each_frame_is_imagined_under_its_own_action(missing):
    """Frame s + k under action s + k - 1, whether or not the last action has a frame."""
    episodes = [make_episode(i, n, missing=missing) for i, n in enumerate([12, 6, 9])]
    starts = [4, 3, 8]
    rollout = Recorder()
    made = imagine_episodes(rollout, episodes, starts, 5, torch.tensor([7, 8, 9]))
    assert [len(sequence.frames) for sequence in made] == [5, 3, 1]
    for i, (sequence, episode, start) in enumerate(zip(made, episodes, starts, strict=True)):
        assert sequence.episode is episode
        assert sequence.start == start
        assert sequence.frames[:, 0, 0, 0].tolist() == list(range(len(sequence.frames)))
        asked = [step[i] for step in rollout.actions[0]]
        count = len(sequence.frames)
        assert asked[:count] == episode.actions[start - 1 : start - 1 + count, 0].tolist()
    np.testing.assert_array_equal(rollout.contexts[0].frames[1], episodes[1].frames[:3])
    assert rollout.contexts[0].actions[1].isnan().any(dim=1).tolist() == [True, False, False]
    assert rollout.seeds[0].tolist() == [7, 8, 9]


def test_starts_without_room_are_refused():
    episode = make_episode(0, 6)
    for start, message in ((2, "no 3 frames before"), (6, "beyond an episode of 6")):
        with pytest.raises(DataError, match=message):
            imagine_episodes(Recorder(), [episode], [start], 2, torch.zeros(1, dtype=torch.int64))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(make_dataset(tmp_path_factory.mktemp("imagining") / "set", [5, 20, 3, 8]))


def draw(store, seed, batches=3, split="train"):
    sequences = imagined_sequences(Recorder(), store, split, horizon=4, batch=50, seed=seed)
    drawn = []
    for _ in range(batches):
        drawn += [(int(s.episode.info["seed"]), s.start) for s in next(sequences)]
    return drawn


def test_every_frame_after_a_context_is_a_start_equally_often(store):
    drawn = draw(store, 0, batches=40)
    train = [int(i) for i in store.split("train")]
    wanted = {(i, s) for i in train for s in range(CONTEXT, store.lengths[i])}
    assert set(drawn) == wanted
    share = len(drawn) / len(wanted)
    counts = [drawn.count(start) for start in wanted]
    assert all(abs(count - share) < 5 * share**0.5 for count in counts)


def test_sequences_depend_on_the_seed_alone(store):
    assert draw(store, 1) == draw(store, 1) != draw(store, 2)


def test_a_split_without_long_episodes_is_refused(tmp_path):
    short = open_store(make_dataset(tmp_path / "set", [3, 3, 3]))
    with pytest.raises(DataError, match=r"'validation'.*longer than its context of 3 frames"):
        next(imagined_sequences(Recorder(), short, "validation", horizon=4, batch=2, seed=0))


def test_with_a_real_rollout():
    world = tiny_world()
    rng = np.random.default_rng(0)
    episode = Episode(
        frames=rng.integers(0, 256, (10, 16, 16, 3), np.uint8),
        actions=rng.integers(0, 3, (9, 1)).astype(np.float32),
        rewards=np.zeros(9, np.float32),
        terminated=np.zeros(9, bool),
        truncated=np.zeros(9, bool),
        state=np.zeros((10, 0), np.float32),
    )
    rollout = Rollout(world, termination_mode="never")
    seeds = torch.tensor([5])
    (made,) = imagine_episodes(rollout, [episode], [CONTEXT], 4, seeds)
    assert made.frames.shape == (4, 16, 16, 3)
    assert made.frames.dtype == np.uint8
    (again,) = imagine_episodes(rollout, [episode], [CONTEXT], 4, seeds)
    np.testing.assert_array_equal(made.frames, again.frames)


# -- retracing: imagined pictures of what happened -------------------------------------------------


def test_retraced_frames_show_what_happened(tmp_path):
    """With a network that answers with what it sees, they are the recorded frames under noise."""
    world = tiny_world(outcome=False)
    info = replace(INFO, frame_shape=world.config.frame_shape)
    episodes = [make_episode(i, n, info=info) for i, n in enumerate([5, 12, 9] * 8)]
    store = open_store(write_dataset(tmp_path / "set", episodes, info, shard_episodes=8))

    def stream(x, t, index, cache, previous, **_):
        last = previous[:, 1, :, : x.shape[-1]]
        return ((x[:, 1] / (1 - t[:, 1, None, None])) - last)[:, None]

    world.network.modulation = lambda t, *_: t  # all that it is to know
    world.network.stream = stream
    sequences = retraced_sequences(world, store, "train", horizon=6, batch=40, seed=1)
    batch = next(sequences)
    assert {len(s.frames) for s in batch} == {1, 2, 3, 4, 5, 6}
    for sequence in batch:
        stop = sequence.start + len(sequence.frames)
        assert len(sequence.frames) == min(6, len(sequence.episode.frames) - sequence.start)
        real = sequence.episode.frames[sequence.start : stop].astype(float)
        unrelated = np.roll(real, 5, axis=2)
        error, other = (np.abs(sequence.frames - x).mean() for x in (real, unrelated))
        assert error < other
    again = next(retraced_sequences(world, store, "train", horizon=6, batch=40, seed=1))
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(batch, again, strict=True))
    assert not np.array_equal(next(sequences)[0].frames, batch[0].frames)
