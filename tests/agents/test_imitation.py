"""Behaviour cloning of the best recorded play."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.evaluation import evaluate
from agents.imitation import (
    ImitationConfig,
    best_episodes,
    discounted_returns,
    episode_returns,
    frames_that_fit,
    imitate,
    watch,
)
from agents.observers import StackedFrames
from agents.policies import make_policy
from agents.policy_io import load_config, load_policy
from agents.ppo import PPOTrainer
from agents.ppo_config import PPOConfig
from tests.agents.big_toy import SCALE, BigToyGame, make_big_toy_envs
from tests.toy import ACTION_NAMES, STATE_NAMES, catching_policy, random_policy, record_episode
from world_model.action_spec import ActionSpec
from world_model.data import open_store, write_dataset
from world_model.data.metadata import DatasetInfo
from world_model.errors import CheckpointError, DataError, DivergenceError

SPEC = ActionSpec.from_space(spaces.Discrete(3), names=ACTION_NAMES)
INFO = DatasetInfo(action_spec=SPEC, frame_shape=(64, 64, 3), fps=10.0, state_names=STATE_NAMES)
TINY = PPOConfig(n_envs=2, n_steps=16, batch_size=16, n_epochs=2, frame_stack=2, features_dim=32)
QUICK = ImitationConfig(share=0.5, steps=400, batch_size=64, learning_rate=1e-3)
GOOD = tuple(range(0, 150, 2))
"""Episodes in which the ball is caught; the others are played at random."""


def large(episode):
    frames = episode.frames.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
    return replace(episode, frames=frames)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    episodes = []
    for seed in range(150):
        policy = catching_policy if seed in GOOD else random_policy
        episodes.append(large(record_episode(seed, policy)))
    folder = tmp_path_factory.mktemp("imitation") / "data"
    return open_store(write_dataset(folder, episodes, INFO))


def make_trainer(folder, config=TINY, **options):
    return PPOTrainer(make_big_toy_envs, SPEC, folder, config=config, **options)


def test_the_best_episodes_come_first(store):
    returns = episode_returns(store)
    assert [float(store.episode(i).rewards.sum()) for i in range(150)] == pytest.approx(
        returns.tolist()
    )
    best = best_episodes(store, "train", 0.5)
    assert set(best.tolist()) <= set(GOOD) & set(store.split("train").tolist())
    assert (np.diff(returns[best]) <= 0).all()
    assert len(best) == round(0.5 * len(store.split("train")))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_a_share(store, share):
    with pytest.raises(DataError, match="share"):
        best_episodes(store, "train", share)


def test_players_are_chosen_by_name(store):
    chosen = best_episodes(store, "train", 1.0, ["rand*", "nobody"])
    assert set(chosen.tolist()) == set(store.split("train").tolist()) - set(GOOD)
    with pytest.raises(DataError, match="its players are catching_policy, random_policy"):
        best_episodes(store, "train", 1.0, ["nobody"])


def test_an_observer_watches_what_was_seen_when_the_action_was_taken(store):
    episodes = np.array([1, 0, 3])
    values = np.arange(store.num_frames, dtype=np.float32)
    rng = np.random.default_rng(0)
    recorded = watch(StackedFrames((64, 64, 3), 2), store, episodes, values, 10**6, rng)
    assert len(recorded) == sum(len(store.episode(i).actions) for i in episodes)
    inputs, actions, worth = recorded.take(torch.arange(len(recorded)), torch.device("cpu"))
    found = 0
    for index in episodes.tolist():
        episode = store.episode(index)
        for t in (0, 1, len(episode.actions) - 1):
            newest = inputs[:, 3:] == torch.from_numpy(episode.frames[t].transpose(2, 0, 1).copy())
            before = episode.frames[t - 1] if t else np.zeros_like(episode.frames[0])
            older = inputs[:, :3] == torch.from_numpy(before.transpose(2, 0, 1).copy())
            rows = newest.flatten(1).all(1) & older.flatten(1).all(1)
            assert rows.any()
            assert (float(episode.actions[t, 0]), float(store.offsets[index] + t)) in zip(
                actions[rows].tolist(), worth[rows].tolist(), strict=True
            )
            found += 1
    assert found == 9


def test_as_many_frames_as_asked_for_are_kept(store):
    episodes = store.split("train")
    values = np.zeros(store.num_frames, np.float32)
    observer = StackedFrames((64, 64, 3), 1)
    recorded = watch(observer, store, episodes, values, 300, np.random.default_rng(0))
    assert len(recorded) == 300
    assert recorded.actions.unique().tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="nothing to learn from"):
        watch(observer, store, episodes[:1], values, 0, np.random.default_rng(0))


def test_large_frames_are_weighed():
    def stack(height, width, count=4):
        return StackedFrames((height, width, 3), count).space

    default = ImitationConfig()
    assert frames_that_fit(stack(64, 64), default.frames, default.gigabytes) == default.frames
    both = spaces.Dict({"frames": stack(64, 64), "memory": spaces.Box(-np.inf, np.inf, (1024,))})
    assert frames_that_fit(both, default.frames, default.gigabytes) == default.frames
    large = frames_that_fit(stack(224, 384), default.frames, default.gigabytes)
    assert large == int(3e9 / (4 * 224 * 384 * 3))
    assert frames_that_fit(both, 10**6, 1.0) == int(1e9 / (4 * 64 * 64 * 3 + 2 * 1024))
    assert frames_that_fit(stack(224, 384), 10, 1e-9) == 1
    for gigabytes in (0.0, -1.0, float("nan")):
        with pytest.raises(DataError, match="gigabytes="):
            frames_that_fit(stack(64, 64), 10, gigabytes)


def test_what_does_not_fit_into_memory_is_left_out_and_said(tmp_path, store):
    trainer = make_trainer(tmp_path)
    room = 100 * 2 * 64 * 64 * 3 / 1e9
    done = trainer.imitate(store, replace(QUICK, steps=2, frames=250, gigabytes=room))
    trainer.close()
    assert (done.frames, done.left_out) == (100, 150)
    assert "150 more frames did not fit into the memory that --imitation.gig" in done.describe()
    assert "did not fit" not in replace(done, left_out=0).describe()


def test_what_came_of_an_action_by_hand(store):
    worth = discounted_returns(store, 0.5, "misses", 10.0)
    for index in range(6):
        episode, start = store.episode(index), int(store.offsets[index])
        found = worth[start : start + len(episode.actions)]
        if episode.truncated[-1]:
            assert np.isnan(found).all()
            continue
        misses = STATE_NAMES.index("misses")
        rewards = episode.rewards + 10.0 * np.diff(episode.state[:, misses])
        assert found[-1] == pytest.approx(rewards[-1])
        assert found[-2] == pytest.approx(rewards[-2] + 0.5 * rewards[-1])
        assert found[0] == pytest.approx((rewards * 0.5 ** np.arange(len(rewards))).sum())
    assert np.isnan(worth[: len(store.episode(0).frames)][-1])
    plain = discounted_returns(store, 0.5, "unknown", 10.0)
    assert not np.allclose(plain, worth, equal_nan=True)


def test_an_imitator_plays_as_well_as_whom_it_imitates(tmp_path, store):
    trainer = make_trainer(tmp_path, replace(TINY, frame_stack=1))
    steps = []
    done = trainer.imitate(store, QUICK, steps.append)
    assert steps == list(range(1, 401))
    assert done.accuracy > 0.75  # three actions, on episodes never seen
    assert done.episodes == len(best_episodes(store, "train", 0.5))
    assert "imitates the best" in done.describe()
    trainer.close()
    clone = load_policy(tmp_path / "agent")
    uniform = make_policy("uniform", SPEC.space)
    cloned, random = (
        evaluate(policy, BigToyGame, range(100, 112), streams=4).returns.mean()
        for policy in (clone, uniform)
    )
    assert random < 0 < 2 < cloned  # balls caught less balls missed


def test_the_value_function_learns_what_the_play_was_worth(tmp_path, store):
    trainer = make_trainer(tmp_path, replace(TINY, gamma=0.5, frame_stack=1))
    worth = discounted_returns(store, 0.5, "health", 0.0)
    known = np.flatnonzero(~np.isnan(worth))
    config = replace(QUICK, share=1.0, value_weight=1.0)
    trainer.imitate(store, config)
    spread = float(trainer.envs.ret_rms.var) ** 0.5
    assert spread == pytest.approx(float(np.nanstd(worth)))
    assert float(trainer.envs.ret_rms.mean) == pytest.approx(float(np.nanmean(worth)))
    assert trainer.envs.ret_rms.count == 1e4
    frames = torch.from_numpy(store.frames[known].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        guesses = trainer.model.policy.predict_values(frames)[:, 0].numpy() * spread
    trainer.close()
    explained = 1 - np.square(guesses - worth[known]).mean() / worth[known].var()
    assert explained > 0.3


def test_the_same_seed_gives_the_same_imitator(tmp_path, store):
    quick = replace(QUICK, steps=5)
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer = make_trainer(tmp_path / name, seed=seed)
        trainer.imitate(store, quick)
        weights.append(trainer.model.policy.action_net.weight.clone())
        trainer.close()
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_at_first_only_the_value_function_learns_and_a_resumed_run_knows_it(tmp_path, store):
    config = replace(TINY, value_warmup=64)
    trainer = make_trainer(tmp_path, config)
    trainer.imitate(store, replace(QUICK, steps=5))
    start = {n: p.clone() for n, p in trainer.model.policy.named_parameters()}
    updates = trainer.train(96)
    next(updates)
    now = dict(trainer.model.policy.named_parameters())
    changed = {name for name in now if not torch.equal(now[name], start[name])}
    assert changed == {name for name in now if "value_net" in name}
    updates.close()
    trainer.close()

    resumed = make_trainer(tmp_path, config)
    assert resumed.source["imitated"]["data"] == store.content_hash
    held = resumed.model.policy.action_net.weight.clone()
    list(resumed.train(64))
    assert torch.equal(resumed.model.policy.action_net.weight, held)
    list(resumed.train(96))
    assert not torch.equal(resumed.model.policy.action_net.weight, held)
    resumed.close()
    settings = load_config(tmp_path / "agent").training["source"]["imitated"]
    assert settings["share"] == 0.5
    assert settings["steps"] == 5


def test_only_a_fresh_network_imitates(tmp_path, store):
    trainer = make_trainer(tmp_path / "a")
    list(trainer.train(32))
    with pytest.raises(CheckpointError, match="learned already"):
        trainer.imitate(store, QUICK)
    path = trainer.share(tmp_path / "shared")
    trainer.close()
    other = make_trainer(tmp_path / "b", start_from=path)
    with pytest.raises(CheckpointError, match="start-from"):
        other.imitate(store, QUICK)
    other.close()
    third = make_trainer(tmp_path / "c")
    third.imitate(store, replace(QUICK, steps=2))
    third.close()
    third = make_trainer(tmp_path / "c")  # stopped before its first step
    with pytest.raises(CheckpointError, match="learned already"):
        third.imitate(store, QUICK)
    third.close()


def test_recordings_of_another_game(tmp_path, store):
    other = ActionSpec.from_space(spaces.Discrete(5))
    trainer = make_trainer(tmp_path)
    trainer.action_spec = other
    with pytest.raises(DataError, match="Discrete\\(5\\)"):
        trainer.imitate(store, QUICK)
    trainer.close()


def test_a_loss_that_is_not_finite_stops_it(tmp_path, store):
    trainer = make_trainer(tmp_path)
    with torch.no_grad():
        trainer.model.policy.value_net.bias.fill_(float("inf"))
    with pytest.raises(DivergenceError, match="diverged at step 0"):
        imitate(
            trainer.model.policy,
            trainer.observer,
            store,
            replace(QUICK, steps=1),
            values=np.zeros(store.num_frames, np.float32),
        )
    trainer.close()


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path):
    trainer = make_trainer(tmp_path)
    list(trainer.train(32))
    trainer.close()
    path = tmp_path / "agent" / "config.json"
    config = json.loads(path.read_text())
    del config["training"]["settings"]["value_warmup"]
    path.write_text(json.dumps(config))
    assert make_trainer(tmp_path).timesteps == 32
