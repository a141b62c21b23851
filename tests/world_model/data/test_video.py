"""Frames stored as video: what comes back, and what is said of files that are not as they were."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.world_model.data.episodes import INFO as SMALL
from tests.world_model.data.films import INFO, film, make_film, make_films, numbers_of
from tests.world_model.data.test_writer import contents
from tests.world_model.disk import full_disk
from world_model.data import EpisodeStream, WindowSampler, open_store, write_dataset
from world_model.data.metadata import DatasetInfo, video_path
from world_model.data.shards import read_summary, shard_video, write_shard
from world_model.data.video_reading import ShardVideo
from world_model.data.video_writing import encoding
from world_model.data.writer import DatasetWriter
from world_model.errors import DataError, StorageError

LENGTHS = [21, 600, 3, 40]
COUNT = sum(LENGTHS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_films(tmp_path_factory.mktemp("films") / "set", LENGTHS)


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "set", ignore=shutil.ignore_patterns(".cache"))


def encode(path, frames, info=INFO):
    with encoding(path, frames.shape[1:], info.fps) as encoder:
        encoder.add(frames)


def video_of(root, shard=0):
    rows = root / f"data/chunk-000/file-{shard:03d}.parquet"
    return shard_video(video_path(root, shard), read_summary(rows), INFO)


# -- which data sets have one ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storage", "shape", "video"),
    [
        ("auto", (128, 128, 3), False),
        ("auto", (96, 130, 3), True),
        ("auto", (131, 96, 3), False),  # H.264 has no odd sides
        ("image", (360, 640, 3), False),
        ("video", (64, 64, 3), True),
    ],
)
def test_large_frames_are_stored_as_video(storage, shape, video):
    info = dataclasses.replace(SMALL, frame_shape=shape, storage=storage)
    assert info.stores_video == video
    again = DatasetInfo.from_dict(json.loads(json.dumps(info.to_dict())), "info.json")
    assert (again.stores_video, again.frame_shape) == (video, shape)
    assert ("observation.image" in info.columns()) == (not video)


def test_large_frames_with_odd_sides_become_images_and_it_is_said(tmp_path):
    odd = dataclasses.replace(SMALL, frame_shape=(131, 97, 3))
    with pytest.warns(
        UserWarning, match=r"97x131 pixels are stored as PNGs.*choose 96x130"
    ) as said:
        DatasetWriter(tmp_path / "odd", odd)
    assert len(said) == 1
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shape, storage in (((63, 65, 3), "auto"), ((131, 97, 3), "image"),
                               ((130, 96, 3), "auto")):  # fmt: skip
            info = dataclasses.replace(SMALL, frame_shape=shape, storage=storage)
            DatasetWriter(tmp_path / f"{shape}", info)


def test_impossible_storage_is_refused():
    with pytest.raises(DataError, match="64x63 pixels cannot be stored as video"):
        dataclasses.replace(SMALL, frame_shape=(63, 64, 3), storage="video")
    with pytest.raises(DataError, match="storage='film'"):
        dataclasses.replace(SMALL, storage="film")


# -- there and back ----------------------------------------------------------------------------


def test_every_row_is_its_frame(made):
    store = open_store(made)
    assert store.frame_shape == INFO.frame_shape
    np.testing.assert_array_equal(numbers_of(store.frames), np.arange(COUNT))
    exact = film(np.arange(COUNT))
    assert np.abs(store.frames.astype(int) - exact).mean() < 1
    episode = store.episode(2)
    np.testing.assert_array_equal(numbers_of(episode.frames), [621, 622, 623])
    np.testing.assert_array_equal(episode.rewards, [0, 1])


def test_windows_are_cut_out_exactly(made):
    store = open_store(made)
    batch = WindowSampler(store, "train", length=12, batch_size=8, seed=3).sample(0)
    numbers = np.stack([numbers_of(frames) for frames in batch.frames.numpy()])
    np.testing.assert_array_equal(numbers, numbers[:, :1] + np.arange(12))


def test_the_video_has_keyframes_and_frames_out_of_order(made):
    """Else the tests of exactness would prove nothing."""
    import av

    with av.open(str(video_path(made, 0))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
    assert stamps != sorted(stamps)
    with av.open(str(video_path(made, 0))) as container:
        keys = [i for i, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys == list(range(0, 621, 16))


@pytest.mark.parametrize("start", [0, 1, 15, 16, 17, 509, 511, 512, 601, 620])
def test_frames_are_found_by_number(made, start):
    stop = min(start + 5, 621)
    found = np.concatenate(list(video_of(made).read(start, stop, chunk=2)))
    np.testing.assert_array_equal(numbers_of(found), np.arange(start, stop))


def test_the_same_frames_give_the_same_file(tmp_path):
    """So that a shard that is recorded anew is the one that was lost."""
    frames = film(np.arange(40))  # flat ones among them
    for name in "ab":
        encode(tmp_path / f"{name}.mp4", frames)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_rates_keep_their_frames(tmp_path):
    for fps in (29.97, 8.75, 1000 / 28.57):
        encode(tmp_path / "x.mp4", film(np.arange(70)), dataclasses.replace(INFO, fps=fps))
        video = ShardVideo(tmp_path / "x.mp4", INFO.frame_shape, fps, 70, 0, "")
        found = np.concatenate(list(video.read(33, 70)))
        np.testing.assert_array_equal(numbers_of(found), np.arange(33, 70))


def test_colours_survive_at_every_size(tmp_path):
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [200, 120, 40]], np.uint8)
    shape = (720, 1280, 3)  # where players take another matrix than below, if none is noted
    frames = np.broadcast_to(colours[:, None, None], (4, *shape))
    encode(tmp_path / "x.mp4", frames)
    video = ShardVideo(tmp_path / "x.mp4", shape, INFO.fps, 4, 0, "")
    for size in (None, (90, 160)):
        found = np.concatenate(list(video.read(0, 4, size)))
        assert np.abs(found.astype(int) - colours[:, None, None]).max() <= 3


def test_frames_come_at_the_size_of_the_model(made):
    store = open_store(made, frame_size=(48, 80))
    assert store.frame_shape == (48, 80, 3)
    assert store.source["resized_from"] == [96, 160, 3]
    np.testing.assert_array_equal(numbers_of(store.frames), np.arange(COUNT))
    large = open_store(made)
    assert large.content_hash != store.content_hash
    averaged = large.frames[:50].reshape(50, 48, 2, 80, 2, 3).mean(axis=(2, 4))
    assert np.abs(store.frames[:50] - averaged).mean() < 2
    with pytest.raises(DataError, match="frame_size"):
        open_store(made, frame_size=(0, 80))


# -- the layout --------------------------------------------------------------------------------


def test_the_layout_is_lerobots(made):
    info = json.loads((made / "meta/info.json").read_text())
    feature = info["features"]["observation.image"]
    assert feature["dtype"] == "video"
    assert feature["shape"] == [96, 160, 3]
    assert feature["info"]["video.codec"] == "h264"
    assert feature["info"]["video.fps"] == 20.0
    assert info["video_files_size_in_mb"] >= 1
    assert np.shape(json.loads((made / "meta/stats.json").read_text())["observation.image"]["mean"])
    episodes = pq.read_table(made / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    key = "videos/observation.image"
    assert [e[f"{key}/file_index"] for e in episodes] == [0, 0, 1, 1]
    assert [e[f"{key}/from_timestamp"] for e in episodes] == [0, 21 / 20, 0, 3 / 20]
    assert [e[f"{key}/to_timestamp"] for e in episodes] == [21 / 20, 621 / 20, 3 / 20, 43 / 20]
    for shard in range(2):
        place = {"chunk_index": 0, "file_index": shard}
        assert (made / info["video_path"].format(video_key="observation.image", **place)).exists()
        columns = pq.read_table(made / info["data_path"].format(**place)).column_names
        assert set(columns) == set(info["features"]) - {"observation.image"}


def test_plain_datasets_reads_the_rows(made, tmp_path):
    datasets = pytest.importorskip("datasets")
    data = datasets.load_dataset(str(made), cache_dir=tmp_path / "cache")["train"]
    assert len(data) == COUNT
    assert "observation.image" not in data.column_names
    row = data[21 + 600 + 1]
    assert (row["episode_index"], row["frame_index"], row["next.reward"]) == (2, 1, 1.0)


# -- streams -----------------------------------------------------------------------------------


def stream(first, frames, chunks):
    episode = make_film(first, frames)
    fields = {f.name: getattr(episode, f.name) for f in dataclasses.fields(episode)}
    return EpisodeStream(**{**fields, "frames": chunks, "num_frames": frames})


def test_a_stream_is_the_same_as_the_episode(tmp_path):
    whole = tmp_path / "whole"
    write_dataset(whole, [make_film(0, 30), make_film(30, 9)], INFO)
    asked = []

    def chunks():
        for at in range(0, 30, 7):
            asked.append(at)
            yield film(np.arange(at, min(at + 7, 30)))

    parts = write_dataset(tmp_path / "parts", [stream(0, 30, chunks()), make_film(30, 9)], INFO)
    assert asked == [0, 7, 14, 21, 28]
    for path in ("data/chunk-000/file-000.parquet", "meta/stats.json"):
        assert (parts / path).read_bytes() == (whole / path).read_bytes()
    assert video_path(parts, 0).read_bytes() == video_path(whole, 0).read_bytes()


@pytest.mark.parametrize("storage", ["image", "video"])
@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([film([0, 1])], "should have 3 frames, but only 2 came"),
        ([film([0, 1]), film([2, 3])], "should have 3 frames, but more came"),
        ([film([0, 1, 2])[:, :90]], r"frames uint8\(3, 90, 160, 3\), expected uint8 \(N, 96"),
        ([film([0, 1, 2]).astype(float)], "expected uint8"),
    ],
)
def test_a_stream_that_breaks_its_word_leaves_nothing(tmp_path, storage, chunks, text):
    info = dataclasses.replace(INFO, storage=storage)
    with pytest.raises(DataError, match=text):
        write_shard(
            tmp_path / "x.parquet", [stream(0, 3, chunks)], info, first_episode=0, first_index=0
        )
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_cannot_be_read_is_no_full_disk(tmp_path):
    def chunks():
        yield film([0])
        raise FileNotFoundError(2, "No such file or directory", "gone.mp4")

    with pytest.raises(DataError, match=r"could not be read: .*gone\.mp4"):
        write_dataset(tmp_path, [stream(0, 3, chunks())], INFO)
    assert not list(tmp_path.rglob("*.mp4"))


# -- interruptions -----------------------------------------------------------------------------


def test_half_a_shard_is_none(made, tmp_path):
    shards = [[make_film(0, 21), make_film(21, 600)], [make_film(621, 3), make_film(624, 40)]]
    parts = tmp_path / "parts"
    writer = DatasetWriter(parts, INFO, shard_episodes=2)
    writer.append(shards[0])
    lone = video_path(parts, 1)
    lone.write_bytes(b"placed, and then the power went")
    lone.with_name(".file-001.123.tmp.mp4").write_bytes(b"half")
    writer = DatasetWriter(parts, INFO, shard_episodes=2)
    assert writer.episodes == 2
    assert sorted(path.name for path in lone.parent.iterdir()) == ["file-000.mp4", "file-001.mp4"]
    writer.append(shards[1])
    writer.finish()
    assert contents(parts) == contents(made)

    video_path(parts, 0).unlink()
    writer = DatasetWriter(parts, INFO, shard_episodes=2)
    assert (writer.episodes, writer.has_shard(0), writer.has_shard(1)) == (0, False, True)
    writer.append(shards[0])
    assert writer.episodes == 4
    writer.finish()
    assert contents(parts) == contents(made)


def test_staged_shards_are_placed_with_their_video(made, tmp_path):
    shards = [[make_film(0, 21), make_film(21, 600)], [make_film(621, 3), make_film(624, 40)]]
    writer = DatasetWriter(tmp_path / "set", INFO, shard_episodes=2)
    for i in (1, 0):
        write_shard(writer.staging_path(i), shards[i], INFO, first_episode=2 * i, first_index=0)
    for i in (0, 1):
        writer.place(i)
    assert list(writer.staging.iterdir()) == []
    writer.finish()
    assert contents(writer.root) == contents(made)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    writer = DatasetWriter(tmp_path / "set", INFO)
    writer.append([make_film(0, 4)])
    before = contents(tmp_path / "set")
    noise = np.random.default_rng(0).integers(0, 256, (90, *INFO.frame_shape), np.uint8)
    with full_disk(65_536), pytest.raises(StorageError, match="Free some disk space"):
        writer.append([dataclasses.replace(make_film(0, 90), frames=noise)])
    assert contents(tmp_path / "set") == before


# -- damage ------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def garbage(path):
    path.write_bytes(b"no video at all")


def fewer(path):
    encode(path, film(np.arange(600)))


def other_size(path):
    encode(path, film(np.arange(621))[:, :64])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def other_film(path):
    encode(path, film(np.arange(621)[::-1]))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (cut, r"cannot be opened as a video .* bytes, \d+ were recorded"),
        (garbage, "it has 15 bytes"),
        (fewer, "has 600 frames, but its shard has 621 rows"),
        (other_size, "160x64 pixels, not the 160x96"),
        (flip, "its content has changed"),
        (other_film, "bytes, .* were recorded|content has changed"),
    ],
)
def test_a_damaged_video_is_named(root, damage, text):
    path = video_path(root, 0)
    damage(path)
    with pytest.raises(DataError, match=f"{path} is damaged: .*{text}.*Delete this file and run"):
        open_store(root)


def test_a_missing_video_is_named(root):
    path = video_path(root, 1)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path} is missing: 43 frames of 160x96 .*Put it back"):
        open_store(root)


def test_a_shard_that_knows_no_video_is_an_error(root):
    path = root / "data/chunk-000/file-001.parquet"
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    footer = json.loads(metadata[b"nfd"])
    del footer["video"]
    pq.write_table(table.replace_schema_metadata({"nfd": json.dumps(footer)}), path)
    with pytest.raises(DataError, match=r"file-001\.mp4.*does not describe it"):
        open_store(root)
