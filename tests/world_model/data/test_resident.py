"""Recordings in a GPU's memory are the same recordings."""

import numpy as np
import pytest
import torch

from world_model.data import resident as module
from world_model.data.resident import copied, resident

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_a_copy_in_parts_is_whole(tmp_path, monkeypatch, dtype):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (11, 3, 2)).astype(dtype)
    np.save(tmp_path / "rows.npy", array)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    monkeypatch.setattr(module, "CHUNK_BYTES", 3 * mapped[0].nbytes + 1)  # 3 rows, and 2 at last
    there = copied(mapped, CPU)
    assert isinstance(there, torch.Tensor)
    np.testing.assert_array_equal(there.numpy(), array)


def test_it_stays_where_it_is_without_a_gpu_or_room_in_it(monkeypatch):
    array = np.zeros((10, 100), np.uint8)
    assert resident(array, CPU) is array
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    monkeypatch.setattr(module, "copied", lambda array, device: (device.type, array.shape))
    free = 9_999
    assert resident(array, torch.device("cuda")) is array
    free = 10_000
    assert resident(array, torch.device("cuda")) == ("cuda", (10, 100))


def test_no_rows_are_no_trouble():
    assert copied(np.zeros((0, 4), np.uint8), CPU).shape == (0, 4)
