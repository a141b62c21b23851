from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.world_model.data.episodes import make_dataset, make_episode
from world_model.contexts import ContextSet
from world_model.data import open_store
from world_model.errors import ContextError, StorageError, WorldFormatError

LENGTHS = [12, 5, 30, 9, 7, 20, 6, 11]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_store(make_dataset(tmp_path_factory.mktemp("contexts") / "set", LENGTHS))


def make_set(clips: int = 5, memory: bool = True) -> ContextSet:
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 3, (clips, 4, 2)).astype(np.float32)
    actions[::2, 0] = np.nan
    return ContextSet(
        frames=rng.integers(0, 256, (clips, 4, 6, 8, 3), dtype=np.uint8),
        actions=actions,
        outcome_memory=rng.normal(size=(clips, 3)).astype(np.float32) if memory else None,
        start_step=np.arange(clips),
    )


@pytest.mark.parametrize("memory", [True, False])
def test_what_is_saved_comes_back_exactly(tmp_path, memory):
    one = make_set(memory=memory)
    one.save(tmp_path / "contexts.parquet")
    other = ContextSet.load(tmp_path / "contexts.parquet")
    for name in ("frames", "actions", "outcome_memory", "start_step"):
        a, b = getattr(one, name), getattr(other, name)
        if name == "outcome_memory" and not memory:
            assert a is None
            assert b is None
        else:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_pick():
    clips = make_set()
    context = clips.pick([3, 0, 3])
    assert context.frames.dtype == torch.uint8
    np.testing.assert_array_equal(context.frames.numpy(), clips.frames[[3, 0, 3]])
    np.testing.assert_array_equal(context.actions.numpy(), clips.actions[[3, 0, 3]])
    np.testing.assert_array_equal(context.outcome_memory.numpy(), clips.outcome_memory[[3, 0, 3]])
    context.frames.zero_()  # a batch shares no memory with the set
    assert clips.frames[3].any()
    assert len(clips.pick(torch.tensor([1])).frames) == 1
    assert make_set(memory=False).pick([0]).outcome_memory is None
    for index in (-1, 5):
        with pytest.raises(ContextError, match=rf"clip {index} is not in 0\.\.4"):
            clips.pick([0, index])


def test_starts_of_episodes(dataset):
    count = sum(LENGTHS[i] >= 6 for i in dataset.split("train"))
    clips = ContextSet.from_store(dataset, "train", count, 6, seed=0)
    assert len(clips) == count
    assert (clips.length, clips.frame_shape, clips.action_dim) == (6, (6, 8, 3), 1)
    assert clips.start_step.tolist() == [0] * count
    episodes = clips.frames[:, 0, 0, 0, 0].tolist()
    assert len(set(episodes)) == count
    assert set(episodes) <= set(dataset.split("train").tolist())
    for i, episode in enumerate(episodes):
        recorded = make_episode(episode, LENGTHS[episode])
        np.testing.assert_array_equal(clips.frames[i], recorded.frames[:6])
        assert np.isnan(clips.actions[i, 0]).all()
        np.testing.assert_array_equal(clips.actions[i, 1:], recorded.actions[:5])


def test_clips_from_anywhere(dataset):
    clips = ContextSet.from_store(dataset, "train", 30, 4, seed=1, kind="any")
    assert len({(e, t) for e, t in zip(clips.frames[:, 0, 0, 0, 0].tolist(),
                                       clips.start_step.tolist(), strict=True)}) == 30  # fmt: skip
    assert clips.start_step.max() > 0
    for frames, actions, start in zip(clips.frames, clips.actions, clips.start_step, strict=True):
        episode, time = frames[:, 0, 0, 0].astype(int), frames[:, 0, 0, 2].astype(int)
        assert (episode == episode[0]).all()
        assert time.tolist() == list(range(start, start + 4))
        expected = (episode + time - 1) % 3
        assert np.isnan(actions[0, 0]) == (start == 0)
        np.testing.assert_array_equal(actions[1:, 0], expected[1:])
    again = ContextSet.from_store(dataset, "train", 30, 4, seed=1, kind="any")
    np.testing.assert_array_equal(clips.frames, again.frames)


def test_too_few_clips_is_an_error(dataset):
    with pytest.raises(ContextError, match="not 100"):
        ContextSet.from_store(dataset, "train", 100, 6, seed=0)
    with pytest.raises(ContextError, match="'middle'"):
        ContextSet.from_store(dataset, "train", 1, 6, seed=0, kind="middle")
    with pytest.raises(ContextError, match="count=0"):
        ContextSet.from_store(dataset, "train", 0, 6, seed=0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"frames": np.zeros((5, 4, 6, 8, 3), np.float32)}, "float32"),
        ({"frames": np.zeros((5, 4, 6, 8), np.uint8)}, "expected uint8"),
        ({"frames": np.zeros((0, 4, 6, 8, 3), np.uint8)}, "no frames"),
        ({"actions": np.zeros((5, 3, 2), np.float32)}, "actions have shape"),
        ({"actions": np.full((5, 4, 2), np.nan, np.float32)}, "only the first action"),
        ({"outcome_memory": np.zeros((4, 3), np.float32)}, "outcome_memory"),
        ({"start_step": np.zeros(4, np.int64)}, "start_step"),
    ],
)
def test_arrays_that_do_not_fit_are_errors(change, text):
    good = make_set()
    fields = {n: getattr(good, n) for n in ("frames", "actions", "outcome_memory", "start_step")}
    with pytest.raises(ContextError, match=text):
        ContextSet(**{**fields, **change})


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(WorldFormatError, match="is missing"):
        ContextSet.load(tmp_path / "contexts.parquet")


def test_a_newer_format_is_an_error(tmp_path):
    path = tmp_path / "contexts.parquet"
    make_set().save(path)
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    metadata[b"nfd"] = json.dumps({**json.loads(metadata[b"nfd"]), "format_version": 9}).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(WorldFormatError, match="format version 9"):
        ContextSet.load(path)


@pytest.mark.parametrize("damage", ["cut", "image", "foreign", "short"])
def test_a_damaged_file_is_an_error(tmp_path, damage):
    path = tmp_path / "contexts.parquet"
    make_set().save(path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-100]
    elif damage == "image":
        at = data.index(b"VP8L")
        data[at : at + 20] = bytes(20)
    elif damage == "foreign":
        data = bytearray(b"not parquet at all")
    else:
        pq.write_table(pq.read_table(path).slice(0, 3), path)
        data = bytearray(path.read_bytes())
    path.write_bytes(data)
    with pytest.raises(WorldFormatError, match=r"contexts\.parquet is damaged"):
        ContextSet.load(path)


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "contexts.parquet"
    make_set().save(path)
    before = path.read_bytes()

    def fail(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(StorageError, match="No space left"):
        make_set(3).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["contexts.parquet"]


def test_plain_datasets_shows_the_clips(tmp_path):
    datasets = pytest.importorskip("datasets")
    clips = make_set()
    clips.save(tmp_path / "contexts.parquet")
    data = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "contexts.parquet"), cache_dir=str(tmp_path / "c")
    )["train"]
    np.testing.assert_array_equal(np.asarray(data[1]["frames"][2]), clips.frames[1, 2])
