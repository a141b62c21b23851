"""Toy episodes as a data set, for the tests of the outcome model."""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.toy import (
    STATE_NAMES,
    ToyGame,
    ToyWorld,
    catching_policy,
    random_policy,
    record_episode,
)
from world_model.outcome import OutcomeModel
from world_model.outcome_training import OutcomeTraining, outcome_config, train_outcome
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


@cache
def toy_source() -> EpisodeList:
    """250 episodes of a bad and a good player; half of them lack the terminal frame."""
    return EpisodeList(
        [
            record_episode(
                seed,
                catching_policy if seed % 3 == 0 else random_policy,
                ToyGame(max_misses=3, max_episode_steps=60),
                drop_last_frame=seed % 2 == 0,
            )
            for seed in range(250)
        ]
    )


@cache
def trained_on_toy() -> OutcomeModel:
    """A model that has learnt the toy, trained once for all tests: copy it before changing it."""
    source = toy_source()
    return train_outcome(
        source,
        source.action_spec,
        outcome_config(source, state_names=("misses",), **SMALL),
        steps=400,
        batch=16,
        length=16,
        training=OutcomeTraining(learning_rate=2e-3, reward_weight=1.0, state_weight=0.5),
    )
