from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from nfd_env.env import NFDWorldEnv
from nfd_env.start_sources import DatasetStarts, RealEnvStarts
from nfd_env.starts import make_starts
from tests.toy import FRAME_SHAPE, STATE_NAMES, ToyGame, ToyWorld, record_episodes
from world_model.errors import ContextError, DataError, NFDError

WORLD = ToyWorld()


class Store:
    """Episodes in memory, with the attributes of an EpisodeStore."""

    def __init__(self, episodes):
        self.action_spec = WORLD.action_spec
        self.frame_shape = FRAME_SHAPE
        self.num_episodes = len(episodes)
        self.lengths = np.array([len(episode.frames) for episode in episodes])
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.frames = np.concatenate([episode.frames for episode in episodes])
        # A row for every frame; that of the last one holds no action.
        pad = [np.concatenate([e.actions, np.zeros((1, 1))])[: len(e.frames)] for e in episodes]
        self.actions = np.concatenate(pad).astype(np.float32)
        self.episodes = episodes
        self.before = np.full((len(episodes), 1), np.nan, np.float32)

    def before_episodes(self):
        return self.before

    def split(self, name):
        return {"train": np.array([0, 2]), "validation": np.array([1, 3])}[name]


@pytest.fixture
def store():
    return Store(record_episodes(4))


def test_clips_are_cut_out_with_the_actions_that_produced_their_frames(store):
    starts = DatasetStarts(store, WORLD, length=3, split="all")
    seen = set()
    for seed in range(200):
        (context,) = starts.draw([seed])
        assert context.frames.shape == (1, 3, *FRAME_SHAPE)
        found = [
            (i, at)
            for i, episode in enumerate(store.episodes)
            for at in range(len(episode.frames) - 3)
            if np.array_equal(episode.frames[at : at + 3], context.frames[0].numpy())
            and (at == 0 or episode.actions[at - 1] == context.actions[0, 0].item())
            and np.array_equal(episode.actions[at : at + 2], context.actions[0, 1:].numpy())
        ]
        assert found
        seen.update(found)
        first = context.actions[0, 0]
        assert torch.isnan(first).all() == any(at == 0 for _, at in found)
    assert {i for i, _ in seen} == {0, 1, 2, 3}


def test_a_piece_of_a_recording_begins_with_the_action_before_it(store):
    store.before[:] = np.arange(4)[:, None] % 3
    starts = DatasetStarts(store, WORLD, length=3, split="all")
    begun = set()
    for seed in range(200):
        (context,) = starts.draw([seed])
        assert not torch.isnan(context.actions).any()
        begun |= {
            i
            for i, episode in enumerate(store.episodes)
            if np.array_equal(episode.frames[:3], context.frames[0].numpy())
            and context.actions[0, 0].item() == i % 3
        }
    assert begun


@pytest.mark.parametrize(
    ("options", "chosen"),
    [({}, {0, 2}), ({"split": "train"}, {0, 2}), ({"split": "validation"}, {1, 3})],
)
def test_an_agent_in_training_sees_no_held_out_episode(store, options, chosen):
    for index, episode in enumerate(store.episodes):
        episode.frames[:] = index
    store.frames = np.concatenate([episode.frames for episode in store.episodes])
    starts = DatasetStarts(store, WORLD, length=3, **options)
    drawn = torch.cat([context.frames for context in starts.draw(range(200))])
    assert set(drawn.unique().tolist()) == chosen
    # No clip mixes episodes.
    assert (drawn == drawn[:, :1]).all()


def test_a_split_that_does_not_exist_or_is_empty(store):
    with pytest.raises(ContextError, match=r"'test'.*'train', 'validation', 'all'"):
        DatasetStarts(store, WORLD, split="test")
    store.split = lambda name: np.zeros(0, np.int64)
    with pytest.raises(DataError, match="'validation': none of the 0 episodes"):
        DatasetStarts(store, WORLD, split="validation")


def test_no_clip_ends_at_an_episodes_last_frame(store):
    starts = DatasetStarts(store, WORLD, length=int(store.lengths.max()) - 1, split="all")
    (context,) = starts.draw([0])
    longest = store.episodes[int(store.lengths.argmax())]
    assert np.array_equal(context.frames[0].numpy(), longest.frames[:-1])


def test_the_outcome_model_is_shown_what_came_before(store):
    shown = []

    class Outcome(torch.nn.Linear):
        def forward_sequence(self, frames, actions, next_actions, memory):
            assert memory is None
            shown.append((frames, actions))
            return type("Sequence", (), {"memory": torch.full((1, 2), float(frames.shape[1]))})

    world = ToyWorld()
    world.outcome = Outcome(1, 1)
    starts = DatasetStarts(store, world, length=2)
    for seed in range(20):
        shown.clear()
        (context,) = starts.draw([seed])
        if torch.isnan(context.actions[0, 0]).all():
            assert context.outcome_memory is None
            assert not shown
            continue
        frames, actions = shown[0]
        assert context.outcome_memory.tolist() == [[frames.shape[1]] * 2]
        assert torch.isnan(actions[0, 0]).all()
        assert not torch.isnan(actions[0, 1:]).any()


def test_data_without_room_for_a_start(store):
    with pytest.raises(DataError, match="'all': none of the 4 episodes is longer than the 500"):
        DatasetStarts(store, WORLD, length=500, split="all")


def test_data_of_another_shape_or_action_space(store):
    store.frame_shape = (8, 8, 3)
    with pytest.raises(ContextError, match=r"\(8, 8, 3\)"):
        DatasetStarts(store, WORLD)
    store.frame_shape = FRAME_SHAPE
    store.action_spec = type(WORLD.action_spec).from_space(gym.spaces.Discrete(5))
    with pytest.raises(ContextError, match=r"Discrete\(5\)"):
        DatasetStarts(store, WORLD)


@pytest.fixture
def folder(tmp_path):
    from world_model.data import write_dataset
    from world_model.data.metadata import DatasetInfo

    info = DatasetInfo(
        action_spec=WORLD.action_spec, frame_shape=FRAME_SHAPE, fps=10.0, state_names=STATE_NAMES
    )
    write_dataset(tmp_path / "data", record_episodes(3), info)
    return str(tmp_path / "data")


@pytest.mark.parametrize("split", [None, "train", "validation", "all"])
def test_a_folder_of_recorded_episodes_starts_an_environment(folder, split):
    from world_model.data import open_store

    env = NFDWorldEnv(WORLD, contexts=folder if split is None else f"{folder}#{split}")
    store = open_store(folder)
    chosen = range(3) if split == "all" else store.split(split or "train")
    assert 0 < len(chosen) < 3 or split == "all"
    frames = np.concatenate([store.episode(i).frames for i in chosen])
    for seed in range(5):
        assert (env.reset(seed=seed)[0] == frames).all((1, 2, 3)).any()
        env.step(0)


def test_a_folder_has_no_other_split(folder):
    with pytest.raises(ContextError, match="'test'"):
        make_starts(f"{folder}#test", WORLD)


def test_the_horizon_counts_imagined_steps_wherever_a_clip_was_cut_out(store):
    starts = DatasetStarts(store, WORLD, length=1)
    late = next(seed for seed in range(99) if not starts.draw([seed])[0].actions.isnan().any())
    env = NFDWorldEnv(ToyWorld(max_misses=99), contexts=starts, max_episode_steps=4)
    assert env.reset(seed=late)[1]["imagined_steps"] == 0
    assert [env.step(0)[3] for _ in range(4)] == [False, False, False, True]


def test_a_real_environment_starts_episodes():
    made = []

    def make():
        made.append(ToyGame())
        return made[-1]

    env = NFDWorldEnv(WORLD, contexts=make)
    assert not made  # not before it is needed
    for seed in (3, 2**40 + 3):
        assert np.array_equal(env.reset(seed=seed)[0], ToyGame().reset(seed=3)[0])
    assert len(made) == 1
    closed = []
    made[0].close = lambda: closed.append(True)
    env.close()
    env.close()
    assert closed == [True]


def test_a_real_environment_by_name():
    env = NFDWorldEnv(WORLD, contexts="tests.toy:ToyGame")
    assert np.array_equal(env.reset(seed=3)[0], ToyGame().reset(seed=3)[0])
    gym.register("TestToyGame-v0", entry_point="tests.toy:ToyGame")
    try:
        env = NFDWorldEnv(WORLD, contexts="TestToyGame-v0")
        assert np.array_equal(env.reset(seed=3)[0], ToyGame().reset(seed=3)[0])
    finally:
        del gym.registry["TestToyGame-v0"]
    with pytest.raises(NFDError, match="module:function"):
        make_starts("tests.toy:NoSuchGame", WORLD)


def test_a_real_environment_with_other_frames():
    starts = RealEnvStarts(lambda: gym.make("CartPole-v1"), WORLD)
    with pytest.raises(ContextError, match=r"float32 \(4,\).*preprocessing"):
        starts.draw([0])
