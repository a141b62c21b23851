from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.world_model.data.episodes import INFO, make_dataset, make_episode
from world_model.data.writer import DatasetWriter, write_dataset
from world_model.errors import DataError, StorageError


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a data set but caches."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): p.read_bytes() for p in files if ".cache" not in p.parts}


def test_the_layout_is_lerobots(tmp_path):
    root = make_dataset(tmp_path / "set", [5, 6, 7, 8])
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (4, 26, 5.0)
    assert info["features"]["observation.image"]["dtype"] == "image"
    assert info["features"]["action"]["shape"] == [1]
    for shard in range(2):
        path = info["data_path"].format(chunk_index=0, file_index=shard)
        table = pq.read_table(root / path)
        assert set(table.column_names) == set(info["features"])
    episodes = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [e["length"] for e in episodes] == [5, 6, 7, 8]
    assert [e["dataset_from_index"] for e in episodes] == [0, 5, 11, 18]
    assert [e["data/file_index"] for e in episodes] == [0, 0, 0, 1]
    assert [json.loads(e["nfd/info"])["policy"] for e in episodes] == [
        f"player-{i}" for i in range(4)
    ]
    tasks = pq.read_table(root / "meta/tasks.parquet").to_pandas()
    assert tasks.index.tolist() == ["play"]
    assert tasks["task_index"].tolist() == [0]


def test_statistics_are_those_of_all_frames(tmp_path):
    root = make_dataset(tmp_path / "set", [5, 6, 7, 1])
    stats = json.loads((root / "meta/stats.json").read_text())
    episodes = [make_episode(i, n, missing=i % 3 != 0) for i, n in enumerate([5, 6, 7, 1])]
    pixels = np.concatenate([e.frames for e in episodes]).reshape(-1, 3) / 255
    image = stats["observation.image"]
    np.testing.assert_allclose(np.ravel(image["mean"]), pixels.mean(axis=0))
    np.testing.assert_allclose(np.ravel(image["std"]), pixels.std(axis=0))
    assert np.shape(image["max"]) == (3, 1, 1)
    rewards = np.concatenate([e.rewards for e in episodes])
    np.testing.assert_allclose(stats["next.reward"]["std"], [rewards.std()])
    assert stats["next.reward"]["max"] == [rewards.max()]
    assert stats["next.reward"]["count"] == [len(rewards)]


def test_plain_datasets_reads_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    root = make_dataset(tmp_path / "set", [5, 6, 7, 8])
    files = str(root / "data" / "*" / "*.parquet")
    for arguments in ({"path": "parquet", "data_files": files}, {"path": str(root)}):
        data = datasets.load_dataset(**arguments, cache_dir=tmp_path / "cache")["train"]
        assert len(data) == 26
        row = data[11 + 2]  # frame 2 of episode 2
        np.testing.assert_array_equal(
            np.asarray(row["observation.image"]), make_episode(2, 7).frames[2]
        )
        np.testing.assert_array_equal(
            np.asarray(row["observation.labels"]), make_episode(2, 7).labels[2]
        )
        assert (row["episode_index"], row["frame_index"], row["action"]) == (2, 2, 1.0)


def test_a_recording_goes_on_where_it_stopped(tmp_path):
    shards = [[make_episode(2 * i, 3), make_episode(2 * i + 1, 4)] for i in range(3)]
    whole = DatasetWriter(tmp_path / "whole", INFO, settings={"seed": 1})
    for shard in shards:
        whole.append(shard)
    whole.finish()

    first = DatasetWriter(tmp_path / "parts", INFO, settings={"seed": 1})
    first.append(shards[0])
    data = tmp_path / "parts/data/chunk-000"
    (data / ".file-001.123.tmp.parquet").write_bytes(b"half")  # what a kill leaves
    first.staging.mkdir()
    first.staging_path(1).write_bytes(b"half")
    second = DatasetWriter(tmp_path / "parts", INFO, settings={"seed": 1})
    assert (second.episodes, second.frames) == (2, 7)
    for shard in shards[1:]:
        second.append(shard)
    second.finish()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_deleted_shard_is_written_anew(tmp_path):
    root = make_dataset(tmp_path / "set", [5, 6, 7, 8, 9], shard_episodes=2)
    before = contents(root)
    (root / "data/chunk-000/file-001.parquet").unlink()
    writer = DatasetWriter(root, INFO, shard_episodes=2)
    assert writer.episodes == 2
    writer.append([make_episode(2, 7), make_episode(3, 8, missing=False)])
    assert writer.episodes == 5  # the last shard had stayed in place
    writer.finish()
    assert contents(root) == before


def test_other_settings_are_refused(tmp_path):
    DatasetWriter(tmp_path, INFO, settings={"seed": 1})
    with pytest.raises(DataError, match=r"settings\.seed: 1 there, 2 now"):
        DatasetWriter(tmp_path, INFO, settings={"seed": 2})
    with pytest.raises(DataError, match="shard_episodes"):
        DatasetWriter(tmp_path, INFO, settings={"seed": 1}, shard_episodes=5)


def test_a_data_set_is_never_overwritten(tmp_path):
    root = make_dataset(tmp_path / "set", [5])
    before = contents(root)
    with pytest.raises(DataError, match="holds a data set"):
        make_dataset(root, [6])
    (root / "meta/recording.json").unlink()
    with pytest.raises(DataError, match="not recorded here"):
        make_dataset(root, [6])
    del before["meta/recording.json"]
    assert contents(root) == before


def test_no_episode_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no episodes"):
        write_dataset(tmp_path, [], INFO)


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    writer = DatasetWriter(tmp_path / "set", INFO)
    writer.append([make_episode(0, 4)])
    before = contents(tmp_path / "set")

    def fail(*arguments, **settings):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", fail)
        with pytest.raises(StorageError, match="Free some disk space"):
            writer.append([make_episode(1, 5)])
        with pytest.raises(StorageError):
            writer.finish()
    assert contents(tmp_path / "set") == before
    again = DatasetWriter(tmp_path / "set", INFO)
    again.append([make_episode(1, 5)])
    again.finish()
    assert again.episodes == 2
