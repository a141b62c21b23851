"""The outcome model's toy data and a model that has learnt it, made once for all tests."""

from __future__ import annotations

import pytest

from tests.toy import ToyGame, catching_policy, random_policy, record_episode
from tests.world_model.outcome_source import SMALL, EpisodeList
from world_model.outcome import OutcomeModel
from world_model.outcome_training import OutcomeTraining, outcome_config, train_outcome


@pytest.fixture(scope="session")
def source() -> EpisodeList:
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


@pytest.fixture(scope="session")
def trained(source: EpisodeList) -> OutcomeModel:
    """A model that has learnt the toy: copy it before changing it."""
    return train_outcome(
        source,
        source.action_spec,
        outcome_config(source, state_names=("misses",), **SMALL),
        steps=400,
        batch=16,
        length=16,
        training=OutcomeTraining(learning_rate=2e-3, reward_weight=1.0, state_weight=0.5),
    )
