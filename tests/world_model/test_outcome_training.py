from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.world_model.outcome_source import SMALL, EpisodeList
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError, DataError
from world_model.outcome import OutcomeModel
from world_model.outcome_data import whole_episodes
from world_model.outcome_metrics import evaluate_outcome
from world_model.outcome_training import (
    OutcomeProgress,
    OutcomeTraining,
    outcome_config,
    train_outcome,
)
from world_model.types import Episode


def predictions(model: OutcomeModel, source: EpisodeList, reset_every: int | None = None):
    """Expected rewards, hazards and the truth of both, on the validation split."""
    rows = []
    for _, batch in whole_episodes(source, source.split("validation"), [], batch=64):
        resets = batch.resets.clone()
        if reset_every:
            resets[:, ::reset_every] = True
        with torch.no_grad():
            sequence = model.forward_sequence(
                batch.frames, batch.actions, batch.next_actions, None, resets
            )
        hazard = sequence.termination_logits.sigmoid()
        parts = (sequence.rewards, batch.rewards, hazard, batch.ends)
        rows.append(torch.stack([part.flatten() for part in parts]))
    return torch.cat(rows, 1).numpy()


def test_config_reads_its_supports_off_the_data(source: EpisodeList) -> None:
    config = outcome_config(source, state_names=("misses",))
    assert config.reward_support == (-1.0, 0.0, 1.0)
    assert config.state_supports == ((0.0, 1.0, 2.0, 3.0),)
    assert config.change_supports == ((0.0, 1.0),)


def test_the_reward_of_an_end_without_a_frame_is_the_mean_of_the_recorded_ones(
    source: EpisodeList,
) -> None:
    def with_last_reward(episode: Episode, reward: float) -> Episode:
        rewards = episode.rewards.copy()
        rewards[-1] = reward
        return replace(episode, rewards=rewards)

    ended = [episode for episode in source.episodes if episode.terminated[-1]]
    blind = [episode for episode in ended if len(episode.actions) == len(episode.frames)]
    shown = [episode for episode in ended if len(episode.actions) < len(episode.frames)]
    assert len(blind) >= 6
    assert len(shown) >= 5
    blind = [with_last_reward(episode, reward) for episode, reward in
             zip(blind, (-5.0, -4.0, -3.0, math.nan, 90.0, -4.0), strict=False)]  # fmt: skip
    assert outcome_config(EpisodeList(blind)).end_reward == -4, "of the training split, as known"
    assert outcome_config(EpisodeList(shown)).end_reward is None
    with pytest.raises(DataError, match="end_reward must be a finite number"):
        replace(outcome_config(EpisodeList(shown)), end_reward=math.inf)


def test_rewards_are_right_at_the_right_frame(trained: OutcomeModel, source: EpisodeList) -> None:
    predicted, reward, _, _ = predictions(trained, source)
    known = ~np.isnan(reward)
    paid = known & (reward != 0)
    assert set(reward[paid]) == {-1.0, 1.0}
    # One frame early or late there is never a reward, so an error of one frame gives about 1.
    assert np.abs(predicted - reward)[paid].mean() < 0.1
    assert np.abs(predicted - reward)[known & ~paid].mean() < 0.05


def test_terminations_are_foreseen(trained: OutcomeModel, source: EpisodeList) -> None:
    scores = evaluate_outcome(trained, source, source.split("validation"))
    termination = scores.termination
    assert termination is not None
    assert termination.auroc > 0.99
    assert termination.nll < 0.4 * termination.nll_base
    assert termination.brier < 0.5 * termination.brier_base
    assert termination.ece < 0.02
    assert scores.state_mae["misses"] < 0.4 * scores.state_mae_base["misses"]
    assert scores.reward_mae < 0.3 * scores.reward_mae_base
    # Two policies of different skill: predicted survival ranks and measures them.
    bad, good = scores.survival["random_policy"], scores.survival["catching_policy"]
    assert good.real > 2 * bad.real
    assert good.predicted > 1.5 * bad.predicted
    assert bad.predicted == pytest.approx(bad.real, rel=0.35)


def test_the_memory_counts_what_no_frame_shows(trained: OutcomeModel, source: EpisodeList) -> None:
    """No look at a few frames can tell the last miss from those before it."""
    _, reward, hazard, ends = predictions(trained, source)
    _, _, forgetful, _ = predictions(trained, source, reset_every=4)
    known = ~np.isnan(ends)

    def nll(p: np.ndarray) -> float:
        p = np.clip(p[known], 1e-6, 1 - 1e-6)
        return -np.where(ends[known] == 1, np.log(p), np.log1p(-p)).mean()

    # The best that anyone without memory can do: sees every miss coming, but not which one it is.
    deaths = np.nansum(ends)
    survived = np.sum(reward[known] < 0)
    share = deaths / (deaths + survived)
    floor = -(deaths * np.log(share) + survived * np.log(1 - share)) / known.sum()
    assert nll(hazard) < floor
    assert nll(forgetful) > floor


def test_killed_and_resumed_equals_uninterrupted(source: EpisodeList, tmp_path: Path) -> None:
    config = outcome_config(source, state_names=("misses",), **{**SMALL, "dropout": 0.2})
    settings = {
        "steps": 7,
        "batch": 3,
        "length": 8,
        "seed": 5,
        "training": OutcomeTraining(checkpoint_every=3, late_start_fraction=0.5),
    }

    class Killed(Exception):
        pass

    def kill(progress: OutcomeProgress) -> None:
        if progress.step == 5:
            raise Killed

    whole = train_outcome(source, source.action_spec, config, **settings)
    with pytest.raises(Killed):
        train_outcome(
            source,
            source.action_spec,
            config,
            **settings,
            checkpoint_dir=tmp_path,
            on_progress=kill,
        )
    steps: list[int] = []
    resumed = train_outcome(
        source,
        source.action_spec,
        config,
        **settings,
        checkpoint_dir=tmp_path,
        on_progress=lambda progress: steps.append(progress.step),
    )
    assert steps == [4, 5, 6, 7]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-6, atol=1e-7)
    other = train_outcome(source, source.action_spec, config, **{**settings, "seed": 6})
    assert not torch.equal(other.embed[0].weight, whole.embed[0].weight)


def test_foreign_and_damaged_checkpoints_are_refused(source: EpisodeList, tmp_path: Path) -> None:
    config = outcome_config(source, **SMALL)
    run = {"batch": 2, "length": 4, "checkpoint_dir": tmp_path}
    train_outcome(source, source.action_spec, config, steps=1, **run)
    with pytest.raises(CheckpointError, match=r"other steps: .*1"):
        train_outcome(source, source.action_spec, config, steps=2, **run)
    state = tmp_path / "outcome" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="damaged"):
        train_outcome(source, source.action_spec, config, steps=1, **run)


def test_progress_reports_losses_and_scores(source: EpisodeList) -> None:
    config = outcome_config(source, state_names=("misses",), **SMALL)
    heard: list[OutcomeProgress] = []
    small = EpisodeList(source.episodes[:20])
    train_outcome(
        small,
        source.action_spec,
        config,
        steps=2,
        batch=2,
        length=4,
        training=OutcomeTraining(validate_every=2),
        on_progress=heard.append,
    )
    assert [progress.step for progress in heard] == [1, 2]
    wanted = {"termination", "reward", "state/misses", "change/misses", "next/misses"}
    assert set(heard[0].losses) == wanted
    assert heard[0].metrics is None
    assert heard[1].metrics is not None


def test_misfits_are_refused(source: EpisodeList) -> None:
    config = outcome_config(source, **SMALL)
    with pytest.raises(DataError, match="the world"):
        train_outcome(source, ActionSpec.from_space(spaces.Discrete(4)), config, steps=1)
    wrong = replace(config, frame_shape=(32, 16, 3))
    with pytest.raises(DataError, match="frames of"):
        train_outcome(source, source.action_spec, wrong, steps=1)
    with pytest.raises(DataError, match="no state named"):
        outcome_config(source, state_names=("mana",))
    leaking = EpisodeList(source.episodes[:10])
    leaking.split = lambda name: np.arange(10)
    with pytest.raises(DataError, match="training and the validation split"):
        train_outcome(leaking, source.action_spec, config, steps=1)
