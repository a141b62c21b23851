from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

from tests.world_model.data.episodes import INFO, make_episode
from world_model.action_spec import ActionSpec
from world_model.data.columns import check_episode
from world_model.data.images import decode_image, encode_png
from world_model.data.shards import decode_images, read_summary, read_table, write_shard
from world_model.errors import DataError, StorageError


def test_png_keeps_every_bit():
    rng = np.random.default_rng(0)
    for shape in ((5, 7, 3), (5, 7)):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(decode_image(encode_png(image)), image)


def test_rows_are_frames_with_the_action_taken_at_them(tmp_path):
    path = tmp_path / "shard.parquet"
    episodes = [make_episode(4, 3), make_episode(5, 4, missing=False, truncated=True)]
    summary = write_shard(path, episodes, INFO, first_episode=4, first_index=100)
    rows = read_table(path).to_pydict()
    assert rows["index"] == list(range(100, 107))
    assert rows["episode_index"] == [4] * 3 + [5] * 4
    assert rows["frame_index"] == [0, 1, 2, 0, 1, 2, 3]
    # 4 % 3 = 1 first; the last row of the second episode has no action of its own: 0.
    assert rows["action"] == [1, 2, 0, 2, 0, 1, 0]
    assert rows["next.reward"] == [0, 1, 2, 0, 1, 2, 0]
    assert rows["next.terminated"] == [False, False, True] + [False] * 4
    assert rows["next.truncated"] == [False] * 5 + [True, False]
    assert rows["next.frame_missing"] == [False, False, True] + [False] * 4
    assert rows["is_last"] == [False, False, True, False, False, False, True]
    np.testing.assert_allclose(rows["timestamp"], [0, 0.2, 0.4, 0, 0.2, 0.4, 0.6], atol=1e-6)
    assert read_summary(path) == summary
    assert summary.rows == 7
    assert [e["return"] for e in summary.episodes] == [3.0, 3.0]


def test_vectors_of_several_columns_are_fixed_size_lists(tmp_path):
    spec = ActionSpec.from_space(spaces.MultiDiscrete([3, 3]))
    info = dataclasses.replace(INFO, action_spec=spec, state_names=(), label_classes={})
    episode = make_episode(0, 4, info=info)
    write_shard(tmp_path / "s.parquet", [episode], info, first_episode=0, first_index=0)
    table = read_table(tmp_path / "s.parquet")
    assert table.schema.field("action").type == pa.list_(pa.float32(), 2)
    np.testing.assert_array_equal(table.column("action").to_pylist(), episode.actions)
    assert "observation.state" not in table.column_names
    assert "observation.labels" not in table.column_names


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("frames", np.zeros((3, 6, 9, 3), np.uint8), "frames"),
        ("frames", np.zeros((3, 6, 8, 3), np.float32), "uint8"),
        ("actions", np.zeros((1, 1), np.float32), "1 actions for 3 frames"),
        ("actions", np.zeros((3, 2), np.float32), "actions of shape"),
        ("rewards", np.zeros(2, np.float32), "as long as actions"),
        ("terminated", np.array([True, False, True]), "last transition only"),
        ("truncated", np.array([False, False, True]), "never both"),
        ("state", np.zeros((3, 1), np.float32), "state"),
        ("labels", None, "labels"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(field, value, text):
    episode = make_episode(0, 3)
    check_episode(episode, INFO)
    with pytest.raises(DataError, match=text):
        check_episode(dataclasses.replace(episode, **{field: value}), INFO)


def test_damage_names_the_file(tmp_path):
    path = tmp_path / "file-007.parquet"
    write_shard(path, [make_episode(0, 5)], INFO, first_episode=0, first_index=0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"file-007\.parquet is damaged"):
        read_summary(path)
    with pytest.raises(DataError, match=r"file-007\.parquet is damaged"):
        read_table(path)


def test_a_single_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "file-000.parquet"
    write_shard(path, [make_episode(0, 5)], INFO, first_episode=0, first_index=0)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"file-000\.parquet is damaged"):
        read_table(path)


@pytest.mark.parametrize("keep", [0, 1, 20, 40, -40])
def test_a_damaged_image_names_file_and_row(tmp_path, keep):
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    images = [encode_png(noise) for _ in range(3)]
    images[1] = images[1][:keep]
    column = pa.chunked_array([pa.StructArray.from_arrays([pa.array(images)], ["bytes"])])
    with pytest.raises(DataError, match=r"x\.parquet.*row 1"):
        decode_images(tmp_path / "x.parquet", column, (6, 8, 3))


def test_an_image_of_another_size_is_refused(tmp_path):
    images = pa.array([encode_png(np.zeros((4, 4, 3), np.uint8))])
    column = pa.chunked_array([pa.StructArray.from_arrays([images], ["bytes"])])
    with pytest.raises(DataError, match=r"\(4, 4, 3\), not \(6, 8, 3\)"):
        decode_images(tmp_path / "x.parquet", column, (6, 8, 3))


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def write_half(table, where, **settings):
        where.write_bytes(b"PAR1 half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", write_half)
    with pytest.raises(StorageError, match="No space left on device"):
        write_shard(tmp_path / "s.parquet", [make_episode(0, 3)], INFO, first_episode=0,
                    first_index=0)  # fmt: skip
    assert list(tmp_path.iterdir()) == []
