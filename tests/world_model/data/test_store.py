from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.world_model.data.episodes import INFO, assert_equal, make_dataset, make_episode
from world_model.data import open_store, store
from world_model.data.images import encode_png
from world_model.data.writer import DatasetWriter, write_dataset
from world_model.errors import DataError, StorageError

LENGTHS = [5, 6, 7, 1, 9, 4]


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path / "set", LENGTHS)


def test_episodes_come_back_exactly(root):
    opened = open_store(root)
    assert opened.num_episodes == len(LENGTHS)
    assert opened.num_frames == sum(LENGTHS)
    for i, length in enumerate(LENGTHS):
        assert_equal(opened.episode(i), make_episode(i, length, missing=i % 3 != 0))


def test_it_knows_the_data_set(root):
    opened = open_store(root)
    assert opened.action_spec == INFO.action_spec
    assert opened.frame_shape == (6, 8, 3)
    assert (opened.fps, opened.state_names) == (5.0, ("health", "place"))
    assert opened.source == INFO.source
    both = np.concatenate([opened.split("train"), opened.split("validation")])
    assert sorted(both.tolist()) == list(range(len(LENGTHS)))
    assert len(opened.split("validation")) >= 1
    with pytest.raises(DataError, match="'test'"):
        opened.split("test")
    with pytest.raises(DataError, match="episode 6"):
        opened.episode(6)


def test_actions_that_produced_frames(root):
    opened = open_store(root)
    produced = opened.produced_by()
    for i, length in enumerate(LENGTHS):
        rows = produced[opened.offsets[i] : opened.offsets[i + 1]]
        assert np.isnan(rows[0]).all()
        np.testing.assert_array_equal(rows[1:], make_episode(i, length).actions[: length - 1])


def cut_episode(index: int, previous: str | None):
    episode = make_episode(index, 5)
    return replace(episode, info={} if previous is None else {"previous_action": previous})


def test_the_action_before_a_cut_is_known(tmp_path):
    episodes = [cut_episode(0, None), cut_episode(1, "[2.0]"), cut_episode(2, "[0]")]
    produced = open_store(write_dataset(tmp_path / "set", episodes, INFO)).produced_by()
    np.testing.assert_array_equal(produced[[0, 5, 10], 0], [np.nan, 2, 0])
    np.testing.assert_array_equal(produced[6:10], episodes[1].actions[:4])


@pytest.mark.parametrize(
    "text", ["", "[", "2", "[2, 1]", "[3]", "[NaN]", '["left"]', "{}", "[[1]]"]
)
def test_a_damaged_action_before_a_cut(tmp_path, text):
    opened = open_store(write_dataset(tmp_path / "set", [cut_episode(0, text)], INFO))
    with pytest.raises(DataError, match="previous_action of episode 0 is"):
        opened.produced_by()


def test_the_cache_is_built_once(root, monkeypatch):
    calls = []
    first = open_store(root, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (sum(LENGTHS), sum(LENGTHS))
    monkeypatch.setattr(store, "build_cache", None)
    second = open_store(root)
    assert second.content_hash == first.content_hash
    assert_equal(second.episode(2), first.episode(2))


def test_other_content_gets_another_cache(tmp_path, root):
    first = open_store(root, tmp_path / "caches")
    writer = DatasetWriter(root, INFO, shard_episodes=3)
    writer.append([make_episode(6, 5)])
    writer.finish()
    second = open_store(root, tmp_path / "caches")
    assert second.num_episodes == 7
    assert second.content_hash != first.content_hash
    assert sorted(os.listdir(tmp_path / "caches")) == sorted(
        [first.content_hash, second.content_hash]
    )
    assert not (root / ".cache").exists()


def test_frames_of_the_cache_cannot_be_overwritten(root):
    episode = open_store(root).episode(0)
    with pytest.raises(ValueError, match="read-only"):
        episode.frames[0] = 0


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"info\.json is missing. Record one"):
        open_store(tmp_path / "nothing")


def test_an_unfinished_recording_is_an_error(tmp_path):
    writer = DatasetWriter(tmp_path, INFO)
    writer.append([make_episode(0, 3)])
    with pytest.raises(DataError, match="has not finished"):
        open_store(tmp_path)


def test_a_data_set_without_episodes_is_an_error(root):
    for path in (root / "data").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(DataError, match="has no episodes"):
        open_store(root)


def test_a_missing_shard_is_an_error(root):
    (root / "data/chunk-000/file-001.parquet").unlink()
    with pytest.raises(DataError, match="should have 32 frames, but its files have 18"):
        open_store(root)


def test_a_missing_first_shard_is_no_empty_data_set(root):
    (root / "data/chunk-000/file-000.parquet").unlink()
    with pytest.raises(DataError, match=r"file-000\.parquet is missing, and there are later ones"):
        open_store(root)


def test_a_damaged_shard_is_named_and_leaves_no_cache(root):
    path = root / "data/chunk-000/file-001.parquet"
    data = bytearray(path.read_bytes())
    middle = data.index(b"\x89PNG", 200)
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"file-001\.parquet is damaged"):
        open_store(root)
    # What was decoded before is kept for the next try, in a hidden folder.
    assert [p for p in (root / ".cache").iterdir() if not p.name.endswith(".partial")] == []


def test_an_image_of_another_size_is_named(root):
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    images = table.column("observation.image").to_pylist()
    images[4] = {"bytes": encode_png(np.zeros((9, 9, 3), np.uint8)), "path": None}
    at = table.schema.get_field_index("observation.image")
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, [pa.array(images, field.type)]), path)
    with pytest.raises(DataError, match=r"file-000\.parquet.*row 4"):
        open_store(root)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nfd": {"format_version": 1}}'])
def test_damaged_metadata_is_an_error(root, text):
    (root / "meta/info.json").write_text(text)
    with pytest.raises(DataError, match=r"info\.json is damaged|has no episodes"):
        open_store(root)


def test_a_newer_format_is_an_error(root):
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    info["nfd"]["format_version"] = 99
    path.write_text(json.dumps(info))
    with pytest.raises(DataError, match="format version 99"):
        open_store(root)


def test_a_full_disk_leaves_no_cache(root, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(StorageError, match="No space left"):
        open_store(root)
    assert list((root / ".cache").iterdir()) == []
    monkeypatch.undo()
    assert open_store(root).num_episodes == len(LENGTHS)


def test_abandoned_builds_are_removed(root):
    abandoned, running = root / ".cache/.abc.1.tmp", root / ".cache/.abc.2.tmp"
    for folder in (abandoned, running):
        folder.mkdir(parents=True)
        (folder / "frames.npy").write_bytes(b"half")
    for path in (abandoned / "frames.npy", abandoned):
        os.utime(path, (1, 1))
    open_store(root)
    assert running.exists()
    assert not abandoned.exists()
