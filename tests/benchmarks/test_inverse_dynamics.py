from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from benchmarks.clips import cut_clips
from benchmarks.inverse_dynamics import (
    ActionReader,
    choices,
    macro_f1,
    read_actions,
    score_reading,
    train_reader,
)
from tests.benchmarks import sliding
from world_model.action_spec import ActionSpec
from world_model.data import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(sliding.make_dataset(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def reader(store):
    return train_reader(store, choices(sliding.SPEC), steps=100, seed=0)


@pytest.fixture(scope="module")
def clips(store):
    return cut_clips(store, "validation", 60, context=2, horizon=5, seed=0)


def test_a_choice_for_every_categorical_part():
    space = spaces.Dict({
        "look": spaces.Box(-1, 1, (2,)), "keys": spaces.MultiBinary(2), "tool": spaces.Discrete(4),
    })  # fmt: skip
    spec = ActionSpec.from_space(space)
    parts = choices(spec)
    assert [len(part.labels) for part in parts] == [2, 2, 4]
    action = {"look": np.zeros(2, np.float32), "keys": np.array([1, 0], np.int8), "tool": 3}
    vector = spec.encode(action)
    assert [vector[part.column] for part in parts] == [1, 0, 3]
    reader = ActionReader((20, 30, 3), parts)
    pictures = torch.zeros(5, 20, 30, 3, dtype=torch.uint8)
    assert [tuple(s.shape) for s in reader(pictures, pictures)] == [(5, 2), (5, 2), (5, 4)]


def test_large_frames_are_shrunk():
    reader = ActionReader((100, 200, 3), choices(sliding.SPEC))
    pictures = torch.zeros(2, 100, 200, 3, dtype=torch.uint8)
    assert reader.body.size == (64, 64)
    assert reader(pictures, pictures)[0].shape == (2, 3)


def test_moves_are_read_off_real_frames(reader, clips):
    """Away from the walls every move shows; there, pushing looks like staying."""
    (read,) = read_actions(reader, clips, clips.frames)
    film = np.concatenate([clips.last_seen, clips.frames], axis=1)
    for i, h in np.argwhere(clips.known):
        before, after = sliding.read(film[i, h : h + 2])
        if before != after:
            assert sliding.MOVES[read[i, h]] == after - before
        else:
            assert read[i, h] == 0 or before in (0, sliding.PLACES - 1)


def test_obedient_frames_reach_the_ceiling_and_others_the_floor(reader, clips):
    scores = score_reading([reader], clips, clips.frames, seed=0)["action"]
    assert scores["imagined"] == scores["ceiling"]
    assert scores["of_ceiling"]["estimate"] == 1
    assert scores["floor"]["high"] < scores["ceiling"]["low"]
    assert scores["imagined"]["n"] == clips.known.sum()
    assert [point["n"] for point in scores["by_horizon"]["ceiling"]] == clips.known.sum(0).tolist()
    frozen = np.repeat(clips.last_seen, clips.horizon, axis=1)
    scores = score_reading([reader], clips, frozen, seed=0)["action"]
    assert scores["of_ceiling"]["high"] < 0.4
    assert scores["recall"]["right"]["imagined"]["estimate"] < 0.3
    assert scores["recall"]["right"]["ceiling"]["estimate"] > 0.7


def test_colours_do_not_matter(reader, clips):
    def dim(frames):
        return np.clip(frames.astype(int) - 20, 0, 255).astype(np.uint8)

    context = replace(clips.context, frames=torch.from_numpy(dim(clips.context.frames.numpy())))
    (read,) = read_actions(reader, replace(clips, context=context), dim(clips.frames))
    (plainly,) = read_actions(reader, clips, clips.frames)
    assert (read == plainly)[clips.known].mean() > 0.95


def test_where_reality_does_not_show_the_action_nothing_is_claimed(clips):
    torch.manual_seed(0)
    untrained = ActionReader(sliding.SHAPE, choices(sliding.SPEC))
    scores = score_reading([untrained], clips, clips.frames, seed=0)["action"]
    assert scores["of_ceiling"] is None


def test_macro_f1_by_hand():
    confusion = np.array([[[3.0, 1.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]])
    present = np.array([True, True, False])
    expected = (2 * 3 / (4 + 5) + 2 * 4 / (6 + 5)) / 2
    assert macro_f1(confusion, present)[0] == pytest.approx(expected)


def test_training_is_reproducible(store):
    parts = choices(sliding.SPEC)
    one, two = (train_reader(store, parts, steps=3, seed=1) for _ in range(2))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_readers_count_together(reader, clips):
    """One that sees and one that guesses: what they read is held against the truth as a whole."""
    torch.manual_seed(0)
    guessing = ActionReader(sliding.SHAPE, choices(sliding.SPEC)).eval()
    scores = score_reading([reader, guessing], clips, clips.frames, seed=0)["action"]
    alone = [
        score_reading([one], clips, clips.frames, seed=0)["action"]["ceiling"]
        for one in (reader, guessing)
    ]
    assert scores["by_reader"]["ceiling"] == pytest.approx([f1["estimate"] for f1 in alone])
    assert alone[1]["estimate"] < scores["ceiling"]["estimate"] < alone[0]["estimate"]
    # Others of their kind may be as bad as the one or as good as the other.
    assert scores["ceiling"]["low"] <= alone[1]["high"]
    assert scores["ceiling"]["high"] >= alone[0]["low"]
    assert scores["ceiling"]["n"] == clips.known.sum()
    assert [point["n"] for point in scores["by_horizon"]["ceiling"]] == clips.known.sum(0).tolist()
