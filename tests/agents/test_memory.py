"""Policies that see what a world's outcome model remembers."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.observed_envs import ObservedEnvs
from agents.observers import FramesAndMemory, StackedFrames, WorldMemory
from agents.policy_io import load_eyes, load_policy
from agents.ppo import PPOTrainer
from agents.ppo_config import PPOConfig
from nfd_env import make_sb3_vec_env
from tests.agents.big_toy import BigToyGame, make_big_toy_envs
from tests.toy import ACTION_NAMES
from tests.world_model.tiny import tiny_world
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError
from world_model.outcome import OutcomeModel
from world_model.outcome_config import OutcomeConfig

SPEC = ActionSpec.from_space(spaces.Discrete(3), names=ACTION_NAMES)
TINY = PPOConfig(
    n_envs=2, n_steps=16, batch_size=16, n_epochs=1, observation="memory", memory_width=16
)


def make_outcome(frame_shape=(64, 64, 3), spec=SPEC, seed=0):
    torch.manual_seed(seed)
    config = OutcomeConfig.for_frames(frame_shape, hidden=8, embedding=12)
    return OutcomeModel(config, spec).eval()


def make_trainer(folder, **options):
    options = {"config": TINY, "outcome": make_outcome(), **options}
    return PPOTrainer(make_big_toy_envs, SPEC, folder, **options)


def check(seen, expected):
    assert seen.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(seen[name], value.numpy(), atol=1e-6)


def test_training_sees_what_playing_sees():
    outcome = make_outcome()
    observer = FramesAndMemory(StackedFrames((64, 64, 3), 2), WorldMemory(outcome))
    envs = ObservedEnvs(make_big_toy_envs(2, seed=0), observer, SPEC)
    reference = make_big_toy_envs(2, seed=0)
    assert envs.observation_space["memory"].shape == (8 + 12,)
    assert envs.observation_space["frames"].shape == (6, 64, 64)
    seen, frames = envs.reset(), reference.reset()
    state, ended = observer.begin(2), 0
    taken = np.full((2, 1), np.nan, np.float32)
    rng = np.random.default_rng(0)
    for _ in range(60):
        check(seen, observer.see(state, frames, taken))
        actions = rng.integers(3, size=2)
        seen, _, dones, infos = envs.step(actions)
        frames, _, _, plain = reference.step(actions)
        taken = SPEC.encode_batch(actions, 2)
        for i in np.flatnonzero(dones):
            # The last frame of an episode is seen with the memory of that episode.
            last = frames.copy()
            last[i] = plain[i]["terminal_observation"]
            before = copy.deepcopy(state)
            row = {name: v[i] for name, v in observer.see(before, last, taken).items()}
            check(infos[i]["terminal_observation"], row)
            observer.restart(state, np.array([i]))
            taken[i] = np.nan
            ended += 1
    assert ended > 1


def test_imagined_episodes_start_with_what_the_world_remembers():
    world = tiny_world()
    assert world.outcome is not None
    envs = make_sb3_vec_env("NFD-World-v0", 3, world=world, max_episode_steps=2)
    envs.seed(0)
    wrapped = ObservedEnvs(envs, WorldMemory(world.outcome), world.action_spec)
    hidden = world.outcome.config.hidden
    seen, ended = wrapped.reset(), 0
    for _ in range(5):
        memory = envs.core.state.memory
        np.testing.assert_allclose(seen[:, :hidden], memory[:, :-1].numpy(), atol=1e-5)
        seen, _, dones, _ = wrapped.step(np.zeros(3, np.int64))
        ended += int(dones.sum())
    assert ended >= 6


@pytest.mark.parametrize("observation", ["memory", "both"])
def test_a_run_brings_its_eyes_along(tmp_path, observation):
    outcome = make_outcome()
    config = replace(TINY, observation=observation, features_dim=16)
    trainer = make_trainer(tmp_path / "run", outcome=outcome, config=config)
    list(trainer.train(64))
    shared = trainer.share(tmp_path / "shared")
    trainer.close()
    mine, loaded = trainer.policy(), load_policy(tmp_path / "run" / "agent")
    frames = np.random.default_rng(0).integers(256, size=(5, 2, 64, 64, 3), dtype=np.uint8)
    first, second = mine.begin([0, 1]), loaded.begin([0, 1])
    for frame in frames:
        np.testing.assert_array_equal(mine.act(frame, first), loaded.act(frame, second))
    # Half precision to share, whole to continue.
    sizes = [
        (folder / "outcome" / "model.safetensors").stat().st_size
        for folder in (shared, tmp_path / "run" / "agent")
    ]
    assert sizes[0] < 0.7 * sizes[1]
    assert load_policy(shared).act(frames[0], loaded.begin([0, 1])).shape == (2,)

    resumed = make_trainer(tmp_path / "run", outcome=outcome, config=config)
    assert resumed.timesteps == 64
    assert resumed.outcome is outcome  # the same but for its place in memory
    resumed.close()
    # In another world the policy keeps the eyes that it learned to see with.
    other = make_trainer(tmp_path / "other", outcome=make_outcome(seed=1), start_from=shared)
    assert other.outcome is not None
    torch.testing.assert_close(
        other.outcome.input_gates.weight, outcome.input_gates.weight, atol=1e-3, rtol=1e-3
    )
    list(other.train(32))
    other.close()


def test_the_memory_is_seen_where_the_world_has_one(tmp_path):
    trainer = make_trainer(tmp_path / "a", config=replace(TINY, observation="auto"))
    assert trainer.config.observation == "memory"
    trainer.close()
    trainer = make_trainer(tmp_path / "b", config=replace(TINY, observation="auto"), outcome=None)
    assert trainer.config.observation == "frames"
    trainer.close()


def test_a_new_episode_forgets(tmp_path):
    trainer = make_trainer(tmp_path)
    policy = trainer.policy()
    trainer.close()
    frames = np.random.default_rng(0).integers(256, size=(2, 64, 64, 3), dtype=np.uint8)
    state = policy.begin([0, 1])
    policy.act(frames, state)
    once = state.seen.clone()
    policy.act(frames, state)
    policy.restart(state, 0, 0)
    policy.act(frames, state)
    torch.testing.assert_close(state.seen[0], once[0])
    assert not torch.allclose(state.seen[1], once[1])


def test_without_an_outcome_model_there_is_no_memory_to_see(tmp_path):
    with pytest.raises(CheckpointError, match="needs a world with an outcome model"):
        make_trainer(tmp_path, outcome=None, config=PPOConfig(observation="memory"))
    with pytest.raises(CheckpointError, match="expected 'auto', 'frames', 'memory' or 'both'"):
        make_trainer(tmp_path, config=PPOConfig(observation="dreams"))
    frames = make_trainer(tmp_path / "frames", config=PPOConfig(n_envs=2, observation="frames"))
    assert frames.outcome is None
    frames.save()
    assert load_eyes(tmp_path / "frames" / "agent") is None
    frames.close()


def test_damaged_eyes_say_so(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.save()
    trainer.close()
    weights = tmp_path / "agent" / "outcome" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy(tmp_path / "agent")
    weights.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_policy(tmp_path / "agent")


def test_real_games_can_be_seen_through_a_world(tmp_path):
    """Real games have no imagined state: their episodes start with an empty memory."""
    envs = ObservedEnvs(DummyVecEnv([BigToyGame]), WorldMemory(make_outcome()), SPEC)
    first = envs.reset()
    envs.step(np.array([1]))
    envs.seed(0)
    assert first.shape == envs.reset().shape == (1, 20)
