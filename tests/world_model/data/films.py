"""Large frames that say their number in black and white blocks, which H.264 keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import write_dataset
from world_model.types import Episode

BITS = 10
INFO = DatasetInfo(
    action_spec=ActionSpec.from_space(spaces.Discrete(3)),
    frame_shape=(96, 160, 3),
    fps=20.0,
    source={"preset": "film"},
)
assert INFO.stores_video


def film(numbers: np.ndarray, info: DatasetInfo = INFO) -> np.ndarray:
    """uint8 (N, H, W, 3): bit b of a frame's number is the brightness of column b of blocks."""
    height, width, _ = info.frame_shape
    bits = (np.asarray(numbers)[:, None] >> np.arange(BITS)) & 1
    row = np.zeros((len(bits), width), np.uint8)
    row[:, : width // BITS * BITS] = (bits * 255).astype(np.uint8).repeat(width // BITS, axis=1)
    return np.broadcast_to(row[:, None, :, None], (len(bits), height, width, 3)).copy()


def numbers_of(frames: np.ndarray) -> np.ndarray:
    """The numbers of frames of any size."""
    width = frames.shape[2]
    middles = ((np.arange(BITS) + 0.5) * (width // BITS)).astype(int)
    bits = frames[:, frames.shape[1] // 2, middles, 0] > 127
    return (bits << np.arange(BITS)).sum(axis=1)


def make_film(first: int, frames: int, info: DatasetInfo = INFO) -> Episode:
    """An episode whose frames are numbered from ``first`` on."""
    ends = np.arange(frames - 1) == frames - 2
    return Episode(
        frames=film(np.arange(first, first + frames), info),
        actions=(np.arange(frames - 1) % 3).astype(np.float32)[:, None],
        rewards=np.arange(frames - 1, dtype=np.float32),
        terminated=ends,
        truncated=np.zeros_like(ends),
        state=np.zeros((frames, 0), np.float32),
        info={"policy": "film"},
    )


def make_films(root: Path, lengths: list[int], shard_episodes: int = 2) -> Path:
    """A data set of films that are numbered on from one to the next."""
    starts = np.cumsum([0, *lengths])
    episodes = (make_film(int(start), n) for start, n in zip(starts, lengths, strict=False))
    return write_dataset(root, episodes, INFO, shard_episodes=shard_episodes)
