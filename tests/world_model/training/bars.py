"""A game small enough to learn in a second: a bar that moves left, right, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from gymnasium import spaces

from world_model.action_spec import ActionSpec
from world_model.data import EpisodeStore, open_store
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import write_dataset
from world_model.presets import get_preset
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.training.trainer import Trainer
from world_model.types import Episode
from world_model.world import World

SIZE = 16
STEP = 2
INFO = DatasetInfo(
    action_spec=ActionSpec.from_space(spaces.Discrete(3), names=["stay", "left", "right"]),
    frame_shape=(SIZE, SIZE, 3),
    fps=5.0,
    state_names=("place",),
    source={"environment": "Bar-v0", "max_episode_steps": 20},
)


def draw(place: int) -> np.ndarray:
    """uint8 (SIZE, SIZE, 3): a bright bar of four columns, around the edge if need be."""
    frame = np.full((SIZE, SIZE, 3), 40, np.uint8)
    frame[:, (place + np.arange(4)) % SIZE] = (220, 180, 60)
    return frame


def play(seed: int, transitions: int) -> Episode:
    """An episode under random actions, mostly moves; every third ends in time, not by itself."""
    rng = np.random.default_rng(seed)
    actions = rng.choice([0, 1, 2], transitions, p=[0.2, 0.4, 0.4])
    moves = np.array([0, -STEP, STEP])[actions]
    places = (rng.integers(SIZE) + np.concatenate([[0], np.cumsum(moves)])) % SIZE
    last = np.arange(transitions) == transitions - 1
    return Episode(
        frames=np.stack([draw(place) for place in places]),
        actions=actions[:, None].astype(np.float32),
        rewards=(actions == 1).astype(np.float32),
        terminated=last & (seed % 3 > 0),
        truncated=last & (seed % 3 == 0),
        state=places[:, None].astype(np.float32),
        info={"policy": "random", "seed": str(seed)},
    )


def make_bars(root: Path, episodes: int = 60, transitions: int = 19) -> EpisodeStore:
    """The store of a new data set at ``root``."""
    made = [play(seed, transitions) for seed in range(episodes)]
    return open_store(write_dataset(root, made, INFO, shard_episodes=20))


def make_trainer(
    store: EpisodeStore, folder: Path, start_from: World | None = None, **changes: object
) -> Trainer:
    """A trainer of the tiny preset, in float32."""
    preset = get_preset("tiny")
    train = replace(preset.train, **{"precision": "float32", **changes})
    tokenizer = PixelPatchTokenizer(PixelPatchConfig(frame_shape=(SIZE, SIZE, 3), std=60.0))
    return Trainer(
        store, tokenizer, preset.network, preset.flow, train, folder, start_from=start_from
    )
