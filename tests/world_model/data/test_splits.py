from __future__ import annotations

import numpy as np
import pytest

from world_model.data.splits import from_ranges, split_episodes, to_ranges
from world_model.errors import DataError


def test_splits_share_no_episode_and_leave_none_out():
    splits = split_episodes(1000, seed=0)
    both = np.concatenate([splits["train"], splits["validation"]])
    assert sorted(both.tolist()) == list(range(1000))
    assert 30 <= len(splits["validation"]) <= 70


def test_more_episodes_move_none_to_the_other_side():
    small, large = split_episodes(500, seed=3), split_episodes(900, seed=3)
    for name in ("train", "validation"):
        np.testing.assert_array_equal(small[name], large[name][large[name] < 500])


def test_the_seed_decides():
    assert to_ranges(split_episodes(200, 1)["validation"]) == to_ranges(
        split_episodes(200, 1)["validation"]
    )
    assert to_ranges(split_episodes(200, 1)["validation"]) != to_ranges(
        split_episodes(200, 2)["validation"]
    )


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_two_episodes_or_more_are_on_both_sides(count, share):
    splits = split_episodes(count, seed=0, validation_share=share)
    assert len(splits["train"]) >= 1
    assert len(splits["validation"]) >= 1


def test_a_single_episode_is_for_training():
    splits = split_episodes(1, seed=0, validation_share=1.0)
    assert splits["train"].tolist() == [0]
    assert splits["validation"].tolist() == []


@pytest.mark.parametrize("indices", [[], [0], [3, 4, 5], [0, 2, 3, 9]])
def test_ranges_come_back(indices):
    assert from_ranges(to_ranges(indices)).tolist() == indices


def test_damaged_ranges_are_refused():
    with pytest.raises(DataError, match="0:x"):
        from_ranges("0:x")
