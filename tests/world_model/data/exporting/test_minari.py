"""What an export to Minari takes of memory, and how its files are cut."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests.world_model.data.episodes import INFO, make_episode
from world_model.data.exporting.minari import export_minari
from world_model.data.exporting.source import open_source
from world_model.data.writer import write_dataset

SHAPE = (32, 32, 3)
FRAMES = 1000
PLAIN = replace(INFO, label_classes={}, frame_shape=SHAPE)
RAW = FRAMES * 32 * 32 * 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One long episode whose frames are small as PNGs, and whose last frame is missing."""
    episode = make_episode(0, FRAMES, missing=True, info=PLAIN)
    flat = np.empty_like(episode.frames)
    flat[:] = (np.arange(FRAMES) % 251).astype(np.uint8)[:, None, None, None]
    folder = tmp_path_factory.mktemp("minari") / "data"
    return write_dataset(folder, [replace(episode, frames=flat)], PLAIN)


def test_an_episode_is_never_in_memory(data, tmp_path):
    source = open_source(data)
    usual = pa.default_memory_pool()
    arrow = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(arrow)
    tracemalloc.start()
    try:
        export_minari(source, tmp_path, lambda done, total: None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)
    assert peak < RAW / 2
    assert arrow.max_memory() < RAW / 2


def test_an_episode_is_one_batch_as_minari_takes_each_for_an_episode(data, tmp_path):
    export_minari(open_source(data), tmp_path, lambda done, total: None)
    folder = tmp_path / "data" / "0"
    assert sorted(path.name for path in folder.iterdir()) == ["metadata.json", "part-0.arrow"]
    with pa.ipc.open_file(str(folder / "part-0.arrow")) as file:
        assert file.num_record_batches == 1
        batch = file.get_batch(0)
    assert batch.num_rows == FRAMES + 1
    pixels = batch.column("observations").flatten().to_numpy().reshape(-1, *SHAPE)
    np.testing.assert_array_equal(pixels[:-1, 0, 0, 0], np.arange(FRAMES) % 251)
    np.testing.assert_array_equal(pixels[-1], pixels[-2])
