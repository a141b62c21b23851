from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.world_model.data.episodes import INFO, make_dataset, make_episode
from world_model.data import WindowSampler, open_store
from world_model.data.writer import write_dataset
from world_model.errors import DataError

LENGTHS = [12, 5, 300, 9, 7, 30, 6, 11, 4, 8]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_store(make_dataset(tmp_path_factory.mktemp("windows") / "set", LENGTHS))


def identify(batch) -> tuple[np.ndarray, np.ndarray]:
    """Episode and frame number of every frame, (B, T) each, as the pixels say."""
    corner = batch.frames[:, :, 0, 0].numpy().astype(int)
    return corner[..., 0], corner[..., 1] * 256 + corner[..., 2]


def test_windows_never_cross_episodes_and_actions_fit_frames(dataset):
    sampler = WindowSampler(dataset, "train", 6, 16, seed=0)
    train = set(dataset.split("train").tolist())
    seen = set()
    for step in range(60):
        batch = sampler.sample(step)
        assert batch.frames.dtype == torch.uint8
        assert batch.frames.shape == (16, 6, 6, 8, 3)
        assert batch.actions.dtype == torch.float32
        assert batch.actions.shape == (16, 6, 1)
        episodes, times = identify(batch)
        assert (episodes == episodes[:, :1]).all()
        assert (np.diff(times, axis=1) == 1).all()
        seen |= set(episodes.ravel().tolist())
        actions = batch.actions[..., 0].numpy()
        at_start = times == 0
        assert np.isnan(actions[at_start]).all()
        # The action that produced frame t is the one taken at frame t - 1.
        expected = (episodes + times - 1) % 3
        np.testing.assert_array_equal(actions[~at_start], expected[~at_start])
    assert seen == {i for i in train if LENGTHS[i] >= 6}


def test_starts_are_true_ones(tmp_path):
    """An episode that goes on where a recording was cut begins in the midst of it."""
    episodes = [make_episode(i, 20) for i in range(8)]
    for i in range(1, 8, 2):
        episodes[i] = replace(episodes[i], info={"previous_action": "[1.0]"})
    store = open_store(write_dataset(tmp_path / "cut", episodes, INFO))
    sampler = WindowSampler(store, "train", 6, 32, seed=0, start_fraction=1.0)
    batch = sampler.sample(0)
    assert set(np.unique(identify(batch)[0]) % 2) == {0}
    assert torch.isnan(batch.actions[:, 0]).all()
    anywhere = WindowSampler(store, "train", 20, 64, seed=0, start_fraction=0.0).sample(0)
    odd = identify(anywhere)[0][:, 0] % 2 == 1
    assert 0 < odd.sum() < 64
    first = anywhere.actions[:, 0, 0].numpy()
    np.testing.assert_array_equal(first, np.where(odd, 1.0, np.nan))


def test_starts_of_a_data_set_without_true_ones(tmp_path):
    episodes = [replace(make_episode(i, 9), info={"previous_action": "[1]"}) for i in range(4)]
    store = open_store(write_dataset(tmp_path / "cut", episodes, INFO))
    batch = WindowSampler(store, "train", 4, 8, seed=0, start_fraction=1.0).sample(0)
    assert (identify(batch)[1][:, 0] == 0).all()
    assert (batch.actions[:, 0] == 1).all()


def test_labels_come_with_their_frames(dataset, tmp_path):
    sampler = WindowSampler(dataset, "train", 4, 8, seed=1)
    batch = sampler.sample(2)
    assert batch.labels is not None
    for window, row in zip(batch.labels.numpy(), sampler.rows(2), strict=True):
        np.testing.assert_array_equal(window, dataset.labels[row : row + 4])
    info = replace(INFO, label_classes={})
    episodes = [make_episode(i, 6, info=info) for i in range(4)]
    plain = open_store(write_dataset(tmp_path / "plain", episodes, info))
    assert WindowSampler(plain, "train", 4, 8, seed=1).sample(0).labels is None


def test_a_batch_is_a_function_of_seed_and_step(dataset):
    one, other = (WindowSampler(dataset, "train", 4, 8, seed=5) for _ in range(2))
    for step in (3, 0, 3, 10**6):
        a, b = one.sample(step), other.sample(step)
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.actions.nan_to_num(-1), b.actions.nan_to_num(-1))
    assert one.rows(3).tolist() != one.rows(4).tolist()
    assert one.rows(3).tolist() != WindowSampler(dataset, "train", 4, 8, seed=6).rows(3).tolist()


def test_start_fraction(dataset):
    starts = WindowSampler(dataset, "train", 4, 64, seed=0, start_fraction=1.0).sample(0)
    assert (identify(starts)[1][:, 0] == 0).all()
    assert starts.actions[:, 0].isnan().all()
    assert not starts.actions[:, 1:].isnan().any()
    half = WindowSampler(dataset, "train", 4, 500, seed=0, start_fraction=0.5).sample(0)
    assert 0.4 < (identify(half)[1][:, 0] == 0).mean() < 0.65


def test_other_windows_are_uniform_over_all_starts(dataset):
    sampler = WindowSampler(dataset, "train", 6, 4000, seed=0, start_fraction=0.0)
    rows, counts = np.unique(sampler.rows(0), return_counts=True)
    valid = np.concatenate(
        [
            dataset.offsets[i] + np.arange(LENGTHS[i] - 5)
            for i in dataset.split("train")
            if LENGTHS[i] >= 6
        ]
    )
    assert sampler.num_windows == len(valid)
    assert set(rows.tolist()) <= set(valid.tolist())
    assert len(rows) > 0.98 * len(valid)
    assert counts.max() < 5 * 4000 / len(valid)


def test_splits_are_kept_apart(dataset):
    validation = set(dataset.split("validation").tolist())
    episodes, _ = identify(WindowSampler(dataset, "validation", 2, 64, seed=0).sample(0))
    assert set(episodes.ravel().tolist()) <= validation


def test_windows_longer_than_every_episode_are_an_error(dataset):
    with pytest.raises(DataError, match="has 301 frames"):
        WindowSampler(dataset, "train", 301, 1, seed=0)


@pytest.mark.parametrize(
    "arguments",
    [{"length": 0}, {"batch_size": 0}, {"start_fraction": 1.5}, {"start_fraction": -0.1}],
)
def test_arguments_out_of_range_are_errors(dataset, arguments):
    with pytest.raises(DataError, match="must be at least 1"):
        WindowSampler(dataset, "train", **{"length": 2, "batch_size": 2, "seed": 0, **arguments})


def test_windows_of_a_tensor_are_those_of_the_array(dataset):
    sampler = WindowSampler(dataset, "train", 6, 16, seed=3)
    frames = torch.from_numpy(np.array(dataset.frames))
    for step in range(3):
        cut = sampler.cut(frames, step)
        assert cut.dtype == torch.uint8
        assert torch.equal(cut, sampler.sample(step).frames)
