"""Videos play back as what was written."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tests.world_model.disk import full_disk
from world_model.errors import StorageError
from world_model.video import write_video


def read(path):
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]), rate


def smooth_frames(count, height, width):
    """Colours that drift slowly: what a codec keeps."""
    t, y, x = np.mgrid[0:count, 0:height, 0:width]
    return np.stack([x * 5 + 40, y * 5 + 40, t * 8 + x * 0 + 40], -1).astype(np.uint8)


def test_frames_come_back(tmp_path):
    frames = smooth_frames(12, 16, 24)
    path = write_video(tmp_path / "new folder" / "film.mp4", frames, 10.0)
    found, rate = read(path)
    assert found.shape == (12, 64, 96, 3)
    assert rate == 10
    enlarged = frames.repeat(4, axis=1).repeat(4, axis=2)
    assert np.abs(found.astype(int) - enlarged).mean() < 4
    assert [p.name for p in path.parent.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(("height", "width", "scale"), [(5, 8, 3), (8, 5, 1), (7, 7, 1)])
def test_odd_sides_are_padded_at_the_edge(tmp_path, height, width, scale):
    frames = smooth_frames(3, height, width)
    found, _ = read(write_video(tmp_path / "film.mp4", frames, 10, scale=scale))
    height, width = height * scale, width * scale
    assert found.shape == (3, height + height % 2, width + width % 2, 3)


def test_rates_that_are_no_whole_number(tmp_path):
    _, rate = read(write_video(tmp_path / "film.mp4", smooth_frames(3, 8, 8), 35 / 4))
    assert float(rate) == pytest.approx(8.75)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 4), np.uint8),
    ],
    ids=lambda frames: f"{frames.dtype}{frames.shape}",
)
def test_what_is_no_film_is_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="expected uint8"):
        write_video(tmp_path / "film.mp4", frames, 10)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_film(tmp_path):
    path = write_video(tmp_path / "film.mp4", smooth_frames(3, 8, 8), 10)
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    with full_disk(), pytest.raises(StorageError, match="Free some disk space"):
        write_video(path, noise, 10)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]
