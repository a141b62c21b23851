from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.toy import catching_policy, record_episode
from tests.world_model.outcome_source import EpisodeList
from world_model.errors import DataError
from world_model.outcome_data import (
    EpisodeLanes,
    OutcomeBatch,
    check_splits,
    outcome_columns,
    state_columns,
    whole_episodes,
)
from world_model.types import Episode


def numbered(frames: int, actions: int, number: int = 0, truncated: bool = False) -> Episode:
    """An episode whose frames, actions, rewards and states tell their own index."""
    index = np.arange(frames)
    ends = np.arange(actions) == actions - 1
    return Episode(
        frames=np.full((frames, 16, 16, 3), 0, np.uint8) + index[:, None, None, None].astype("u1"),
        actions=(np.arange(actions) % 3).astype(np.float32)[:, None],
        rewards=100.0 * number + np.arange(actions, dtype=np.float32),
        terminated=ends & ~np.bool_(truncated),
        truncated=ends & np.bool_(truncated),
        state=np.stack([index, -(index**2)], 1).astype(np.float32),
        info={"policy": f"policy-{number}"},
    )


def test_columns_with_the_final_frame() -> None:
    columns = outcome_columns(numbered(frames=4, actions=3), states=[1])
    nan = np.nan
    np.testing.assert_array_equal(columns["actions"][:, 0], [nan, 0, 1, 2])
    np.testing.assert_array_equal(columns["next_actions"][:, 0], [0, 1, 2, nan])
    np.testing.assert_array_equal(columns["rewards"], [nan, 0, 1, 2])
    np.testing.assert_array_equal(columns["ends"], [0, 0, 1, nan])
    np.testing.assert_array_equal(columns["resets"], [True, False, False, False])
    np.testing.assert_array_equal(columns["states"][:, 0], [0, -1, -4, -9])
    np.testing.assert_array_equal(columns["changes"][:, 0], [nan, -1, -3, -5])
    np.testing.assert_array_equal(columns["next_changes"][:, 0], [-1, -3, -5, nan])


def test_columns_without_the_final_frame() -> None:
    columns = outcome_columns(numbered(frames=4, actions=4))
    np.testing.assert_array_equal(columns["actions"][:, 0], [np.nan, 0, 1, 2])
    np.testing.assert_array_equal(columns["next_actions"][:, 0], [0, 1, 2, 0])
    # The last reward has no frame to be read from, but the end is known.
    np.testing.assert_array_equal(columns["rewards"], [np.nan, 0, 1, 2])
    np.testing.assert_array_equal(columns["ends"], [0, 0, 0, 1])
    assert columns["states"].shape == (4, 0)


def test_a_time_limit_is_no_end() -> None:
    columns = outcome_columns(numbered(frames=3, actions=3, truncated=True))
    np.testing.assert_array_equal(columns["ends"], [0, 0, np.nan])


def test_misfitting_episode_is_refused() -> None:
    with pytest.raises(DataError, match="3 frames and 5 actions"):
        outcome_columns(numbered(frames=3, actions=5))


def make_lanes(episodes: list[Episode], **settings) -> EpisodeLanes:
    source = EpisodeList(episodes)
    settings = {"lanes": 3, "length": 5, "seed": 0, **settings}
    return EpisodeLanes(source, np.arange(len(episodes)), [0], **settings)


def test_lanes_play_whole_episodes_in_order() -> None:
    """Each lane, read on and on, is a string of complete episodes, and none is left out."""
    episodes = [numbered(n, n, number=n) for n in (3, 4, 7, 12)]
    lanes = make_lanes(episodes)
    batches = [lanes.next() for _ in range(40)]
    played = []
    for lane in range(3):
        joined = {
            f.name: torch.cat([getattr(batch, f.name)[lane] for batch in batches])
            for f in fields(OutcomeBatch)
        }
        starts = joined["resets"].nonzero()[:, 0].tolist()
        assert starts[0] == 0
        for start, stop in pairwise(starts):
            number = round(joined["rewards"][start + 1].item()) // 100
            expected = outcome_columns(numbered(number, number, number=number), [0])
            for name, column in expected.items():
                np.testing.assert_array_equal(joined[name][start:stop].numpy(), column)
            played.append(number)
    counts = np.bincount(played)[[3, 4, 7, 12]]
    assert counts.min() >= counts.max() - 4


def test_lanes_resume_exactly() -> None:
    episodes = [numbered(n, n, number=n) for n in (3, 4, 7, 12)]
    lanes = make_lanes(episodes, late_start_fraction=0.5)
    for _ in range(3):
        lanes.next()
    position = json.loads(json.dumps(lanes.position))
    expected = [lanes.next() for _ in range(4)]
    again = make_lanes(episodes, late_start_fraction=0.5)
    again.position = position
    for batch in expected:
        other = again.next()
        for field in fields(OutcomeBatch):
            torch.testing.assert_close(
                getattr(batch, field.name), getattr(other, field.name), equal_nan=True
            )


def test_late_starts_reset_the_memory_in_the_middle() -> None:
    lanes = make_lanes([numbered(50, 50)], lanes=8, length=10, late_start_fraction=1.0)
    batch = lanes.next()
    assert batch.resets[:, 0].all()
    assert (batch.frames[:, 0, 0, 0, 0] > 0).sum() >= 5
    # Inside an episode the first action is the recorded one.
    inside = batch.frames[:, 0, 0, 0, 0] > 0
    assert not batch.actions[inside, 0].isnan().any()


def test_whole_episodes_pad_with_the_unknown() -> None:
    episodes = [numbered(3, 3), numbered(6, 5), numbered(4, 4)]
    source = EpisodeList(episodes)
    batches = list(whole_episodes(source, np.arange(3), [0], batch=2))
    assert [chosen.tolist() for chosen, _ in batches] == [[0, 2], [1]]
    first = batches[0][1]
    assert first.frames.shape[:2] == (2, 4)
    np.testing.assert_array_equal(first.ends[0].numpy(), [0, 0, 1, np.nan])
    assert first.rewards[0, 3].isnan()
    assert first.states[0, 3].isnan()


def test_overlapping_or_empty_splits_are_refused() -> None:
    source = EpisodeList([record_episode(seed, catching_policy) for seed in range(5)])
    train, validation = check_splits(source)
    assert (train.tolist(), validation.tolist()) == ([0, 1, 2, 3], [4])
    with pytest.raises(DataError, match="4 training and 0 validation"):
        check_splits(EpisodeList(source.episodes[:4]))
    source.split = lambda name: np.array([0, 1])
    with pytest.raises(DataError, match="training and the validation split"):
        check_splits(source)


def test_unknown_state_is_refused() -> None:
    source = EpisodeList([record_episode(0)])
    assert state_columns(source, ["misses", "paddle"]) == [3, 0]
    with pytest.raises(DataError, match="no state named"):
        state_columns(source, ["misses", "mana"])


def test_columns_do_not_write_to_the_episode() -> None:
    episode = numbered(3, 3, truncated=True)
    frozen = replace(episode, truncated=episode.truncated.copy())
    outcome_columns(episode)
    np.testing.assert_array_equal(episode.truncated, frozen.truncated)
    assert not episode.terminated.any()
