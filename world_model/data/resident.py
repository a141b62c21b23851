"""Recordings kept in a GPU's memory, where they fit: windows are then cut out there.

Reading a batch of some hundred windows of small frames from a file takes a core tens of
milliseconds, in which the GPU waits. A few hundred thousand frames are a few gigabytes.
"""

from __future__ import annotations

import numpy as np
import torch

SHARE = 0.1
"""Share of the GPU's free memory that one array may take."""
CHUNK_BYTES = 256 * 2**20
"""How much is copied at a time."""


def resident(array: np.ndarray, device: torch.device) -> np.ndarray | torch.Tensor:
    """The array in the memory of a GPU that has room for it; as it is otherwise.

    Args:
        array: a row per frame.
        device: where training takes place.
    """
    if device.type != "cuda":
        return array
    free, _ = torch.cuda.mem_get_info(device)
    return copied(array, device) if array.nbytes <= SHARE * free else array


def copied(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array on the device, copied in parts: it may lie in a file."""
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    there = torch.empty(array.shape, dtype=dtype, device=device)
    rows = max(1, CHUNK_BYTES // max(1, array.nbytes // max(1, len(array))))
    for first in range(0, len(array), rows):
        part = np.array(array[first : first + rows])
        there[first : first + rows] = torch.from_numpy(part).to(device)
    return there
