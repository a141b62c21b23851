"""Building the cache: interrupted, by several processes, without room."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

from tests.world_model.data.episodes import INFO, make_dataset, make_episode
from tests.world_model.data.films import make_films, numbers_of
from world_model.data import cache, open_store, open_store_for
from world_model.data.metadata import video_path
from world_model.data.resizing import resize_area, resize_nearest
from world_model.data.video_reading import ShardVideo
from world_model.errors import DataError, StorageError

LENGTHS = [30, 25, 20, 10]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_films(tmp_path_factory.mktemp("films") / "set", LENGTHS, shard_episodes=2)


@pytest.fixture
def pieces(monkeypatch):
    """Short pieces, one after the other; the list of those that were decoded."""
    monkeypatch.setattr(cache, "PIECE", 16)
    monkeypatch.setattr(cache, "_THREADS", 1)
    decoded = []
    fill = cache._fill

    def noted(piece, *rest):
        fill(piece, *rest)
        decoded.append(piece.row)

    monkeypatch.setattr(cache, "_fill", noted)
    return decoded


def test_an_interrupted_build_goes_on(made, tmp_path, pieces):
    def interrupt(done, total):
        assert total == 85
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(made, tmp_path, interrupt)
    (partial,) = tmp_path.iterdir()
    assert partial.name.endswith(".partial")
    before = list(pieces)
    (partial / "done").open("a").write("48:6")  # the line under way when the power went
    reports = []
    store = open_store(made, tmp_path, lambda done, total: reports.append(done))
    assert pieces[: len(before)] == before
    assert not {0, 16} & set(pieces[len(before) :])
    assert sorted({*pieces}) == [0, 16, 32, 48, 55, 71]
    assert reports[0] > 32
    assert reports[-1] == 85
    np.testing.assert_array_equal(numbers_of(store.frames), np.arange(85))
    assert [path.name for path in tmp_path.iterdir()] == [store.content_hash]
    assert sorted(p.name for p in (tmp_path / store.content_hash).iterdir()) == sorted(
        f"{name}.npy" for name in ("frames", "offsets", *cache._NUMBERS)
    )


def test_damage_late_in_a_data_set_does_not_cost_what_was_decoded(made, tmp_path, pieces):
    root = shutil.copytree(made, tmp_path / "set", ignore=shutil.ignore_patterns(".cache"))
    path = video_path(root, 1)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="its content has changed"):
        open_store(root)
    path.write_bytes(whole)
    pieces.clear()
    np.testing.assert_array_equal(numbers_of(open_store(root).frames), np.arange(85))
    assert pieces == [55, 71]


@pytest.mark.slow
def test_processes_that_open_it_together_build_it_once(made, tmp_path):
    code = (
        "import sys; from world_model.data import open_store; "
        "print(len(open_store(sys.argv[1], sys.argv[2], lambda a, b: print('decoding')).frames))"
    )
    command = [sys.executable, "-c", code, str(made), str(tmp_path / "caches")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].split() for process in both]
    assert [output[-1] for output in outputs] == ["85", "85"]
    assert sorted("decoding" in output for output in outputs) == [False, True]
    assert len(list((tmp_path / "caches").iterdir())) == 1


def test_a_disk_without_room_is_said_before_decoding(made, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 3_000_000))
    text = rf"need 0.0 GB more, but {tmp_path} has only 0.0 GB free.*smaller frames"
    with pytest.raises(StorageError, match=text):
        open_store(made, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert open_store(made, tmp_path, frame_size=(48, 80)).num_frames == 85  # 1 MB


def test_a_video_that_ends_early_is_no_frames_of_zeros(made, tmp_path):
    """What only decoding tells: the header promises more frames than there are."""
    path = shutil.copy(video_path(made, 0), tmp_path / "x.mp4")
    video = ShardVideo(tmp_path / "x.mp4", (96, 160, 3), 20.0, 60, 0, "")
    with pytest.raises(DataError, match=f"{path} is damaged: it ends after 55 of 60 frames"):
        list(video.read(0, 60))


def test_images_and_labels_are_resized_too(tmp_path):
    root = make_dataset(tmp_path / "set", [5, 6, 7])
    store = open_store(root, frame_size=(3, 4))
    frames = np.concatenate([make_episode(i, n).frames for i, n in enumerate([5, 6, 7])])
    labels = np.concatenate([make_episode(i, n).labels for i, n in enumerate([5, 6, 7])])
    means = frames.reshape(18, 3, 2, 4, 2, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(store.frames, np.floor(means + 0.5))
    np.testing.assert_array_equal(store.labels, labels[:, 1::2, 1::2])
    assert (store.frame_shape, store.info.label_classes) == ((3, 4, 3), INFO.label_classes)


def test_a_world_gets_frames_of_its_size_where_they_are_meant_for_it(made, tmp_path):
    assert open_store_for(made, (24, 40, 3), cache_dir=tmp_path).frame_shape == (24, 40, 3)
    images = make_dataset(tmp_path / "set", [5, 6])  # of 6 x 8 pixels
    assert open_store_for(images, (3, 4, 3)).frame_shape == (6, 8, 3)
    assert open_store_for(images, (3, 4, 3), {"resized_from": [9, 9, 3]}).frame_shape[0] == 6
    assert open_store_for(images, (3, 4, 3), {"resized_from": [6, 8, 3]}).frame_shape[0] == 3


@pytest.mark.parametrize(("old", "new"), [((9, 7), (4, 5)), ((6, 8), (6, 3)), ((4, 4), (5, 9))])
def test_area_resizing_is_exact(old, new):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, *old, 3), dtype=np.uint8)
    # Every pixel as new.size equal parts: then each new pixel is a plain mean.
    fine = images.repeat(new[0], axis=1).repeat(new[1], axis=2).astype(float)
    parts = fine.reshape(2, new[0], old[0], new[1], old[1], 3).mean(axis=(2, 4))
    found = resize_area(images, new)
    assert found.dtype == np.uint8
    assert np.abs(found - parts).max() <= 0.501
    assert resize_area(np.full((1, *old, 3), 255, np.uint8), new).min() == 255


def test_masks_keep_their_classes():
    masks = np.array([[[0, 1, 2, 7], [3, 4, 5, 6]]], np.uint8)
    np.testing.assert_array_equal(resize_nearest(masks, (2, 2)), [[[1, 7], [4, 6]]])
    np.testing.assert_array_equal(resize_nearest(masks, (1, 4)), [[[3, 4, 5, 6]]])
