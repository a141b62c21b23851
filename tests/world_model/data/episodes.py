"""Small episodes whose pixels say which episode and frame they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import write_dataset
from world_model.types import Episode

INFO = DatasetInfo(
    action_spec=ActionSpec.from_space(spaces.Discrete(3), names=["stay", "right", "left"]),
    frame_shape=(6, 8, 3),
    fps=5.0,
    state_names=("health", "place"),
    label_classes={0: "background", 1: "monster", 2: "fireball"},
    source={"preset": "counting", "environment": "Counting-v0"},
)


def make_episode(
    index: int,
    frames: int,
    *,
    missing: bool = True,
    truncated: bool = False,
    info: DatasetInfo = INFO,
) -> Episode:
    """Episode ``index``: pixel (0, 0) of frame t is (index, t // 256, t % 256).

    Action t is ``(index + t) % 3`` and reward t is ``t``; the other pixels are noise.
    """
    rng = np.random.default_rng([7, index])
    height, width, _ = info.frame_shape
    pixels = rng.integers(0, 256, (frames, *info.frame_shape), dtype=np.uint8)
    pixels[:, 0, 0] = [(index, t // 256, t % 256) for t in range(frames)]
    transitions = frames if missing else frames - 1
    ends = np.arange(transitions) == transitions - 1
    dim = info.action_spec.dim
    actions = (index + np.arange(transitions * dim).reshape(-1, dim)) % 3
    return Episode(
        frames=pixels,
        actions=actions.astype(np.float32),
        rewards=np.arange(transitions, dtype=np.float32),
        terminated=ends & (not truncated),
        truncated=ends & truncated,
        state=rng.normal(size=(frames, len(info.state_names))).astype(np.float32),
        labels=rng.integers(0, 3, (frames, height, width), dtype=np.uint8)
        if info.has_labels
        else None,
        info={"policy": f"player-{index}", "seed": str(index)},
    )


def assert_equal(one: Episode, other: Episode) -> None:
    """Fails unless every array of the two episodes is equal, in value, shape and type."""
    names = ("frames", "actions", "rewards", "terminated", "truncated", "state", "labels")
    for name in names:
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert one.info == other.info


def make_dataset(root: Path, lengths: list[int], shard_episodes: int = 3) -> Path:
    """A data set of episodes of the given lengths; every third has its final frame."""
    episodes = [make_episode(i, n, missing=i % 3 != 0) for i, n in enumerate(lengths)]
    return write_dataset(root, episodes, INFO, shard_episodes=shard_episodes)
