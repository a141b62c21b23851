"""Toy episodes as a data set, for the tests of the outcome model."""

from __future__ import annotations

import numpy as np

from tests.toy import STATE_NAMES, ToyWorld
from world_model.types import Episode


class EpisodeList:
    """Recorded toy episodes as an EpisodeSource; every fifth is for validation."""

    def __init__(self, episodes: list[Episode]) -> None:
        self.episodes = episodes
        self.action_spec = ToyWorld().action_spec
        self.frame_shape = (16, 16, 3)
        self.state_names = STATE_NAMES

    def episode(self, index: int) -> Episode:
        return self.episodes[index]

    def split(self, name: str) -> np.ndarray:
        every_fifth = np.arange(len(self.episodes)) % 5 == 4
        return np.flatnonzero(every_fifth == (name == "validation"))


SMALL = {"channels": (16, 32), "embedding": 64, "hidden": 64, "head": 64, "dropout": 0.0}
