import shutil
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.evaluation import evaluate
from agents.policy_io import load_policy
from agents.ppo import PPOTrainer
from agents.ppo_config import PPOConfig
from tests.agents.big_toy import make_big_toy_envs
from tests.toy import ACTION_NAMES
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError

SPEC = ActionSpec.from_space(spaces.Discrete(3), names=ACTION_NAMES)
TINY = PPOConfig(n_envs=2, n_steps=16, batch_size=16, n_epochs=2, frame_stack=2, features_dim=32)


def make_trainer(folder, config=TINY, **options):
    return PPOTrainer(make_big_toy_envs, SPEC, folder, config=config, **options)


def run(trainer, timesteps, **options):
    points = list(trainer.train(timesteps, **options))
    trainer.close()
    return points


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.policy.named_parameters()}


def test_a_run_leaves_policy_curve_and_log(tmp_path):
    trainer = make_trainer(tmp_path, source={"world": "toy@1#0"})
    steps = []
    points = run(trainer, 96, on_step=steps.append, keep_every=64)
    assert [point.timesteps for point in points] == [32, 64, 96]
    assert steps == list(range(2, 98, 2))
    lines = (tmp_path / "learning_curve.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("timesteps,seconds,episode_return")
    assert list((tmp_path / "tensorboard").iterdir())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["000000064"]

    loaded = load_policy(tmp_path / "agent")
    frames = np.random.default_rng(0).integers(256, size=(1, 64, 64, 3), dtype=np.uint8)
    mine = trainer.policy()
    assert mine.act(frames, mine.begin([0])) == loaded.act(frames, loaded.begin([0]))
    assert loaded.observer.count == 2


def test_rewards_are_normalised_but_the_curve_shows_true_returns(tmp_path):
    trainer = make_trainer(tmp_path)
    point = run(trainer, 160)[-1]
    # Two misses end an episode, each worth -1: true returns are whole numbers of balls.
    episodes = [episode["r"] for episode in trainer.model.ep_info_buffer]
    assert episodes
    assert all(float(r).is_integer() for r in episodes)
    assert point.episode_return == pytest.approx(np.mean(episodes))
    assert trainer.envs.ret_rms.count > 100
    assert not trainer.envs.norm_obs


def test_training_is_seeded(tmp_path):
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer = make_trainer(tmp_path / name, seed=seed)
        run(trainer, 64)
        results.append(weights(trainer))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert not all(torch.equal(results[0][name], results[2][name]) for name in results[0])


def test_a_killed_run_goes_on_where_it_was_saved(tmp_path):
    trainer = make_trainer(tmp_path / "run", seed=3)
    updates = trainer.train(320, save_every=0)
    for _ in range(4):
        next(updates)
    # What a kill in the middle of the fourth update leaves behind: the third one's save.
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    before = load_file(tmp_path / "killed" / "agent" / "model.safetensors")
    updates.close()
    trainer.close()

    resumed = make_trainer(tmp_path / "killed", seed=3)
    assert resumed.timesteps == 96
    assert all(torch.equal(before[name], value) for name, value in weights(resumed).items())
    # Three updates of two epochs of two batches.
    adam = resumed.model.policy.optimizer.state_dict()["state"]
    assert adam[0]["step"] == 12
    assert adam[3]["exp_avg_sq"].sum() > 0
    assert resumed.envs.ret_rms.count > 96
    points = run(resumed, 160)
    assert [point.timesteps for point in points] == [128, 160]
    assert [point.timesteps for point in resumed.curve.points] == [32, 64, 96, 128, 160]
    seconds = [point.seconds for point in resumed.curve.points]
    assert seconds == sorted(seconds)
    assert resumed.model.policy.optimizer.state_dict()["state"][0]["step"] == 20
    # Finished: the same call again has nothing to do.
    assert run(make_trainer(tmp_path / "killed", seed=3), 160) == []


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    run(make_trainer(tmp_path), 32)
    with pytest.raises(CheckpointError, match="other settings \\(gamma\\)"):
        make_trainer(tmp_path, replace(TINY, gamma=0.9))
    with pytest.raises(CheckpointError, match="seed"):
        make_trainer(tmp_path, seed=1)


def test_starting_from_another_policy(tmp_path):
    first = make_trainer(tmp_path / "first")
    run(first, 64)
    path = first.share(tmp_path / "shared")
    second = make_trainer(tmp_path / "second", replace(TINY, features_dim=64), start_from=path)
    assert second.timesteps == 0
    assert second.envs.ret_rms.var == first.envs.ret_rms.var
    for name, value in weights(second).items():
        torch.testing.assert_close(value, weights(first)[name], atol=1e-3, rtol=1e-3)
    assert second.source["started_from"]["timesteps"] == 64
    run(second, 32)
    # Still known after an interruption.
    resumed = make_trainer(tmp_path / "second", replace(TINY, features_dim=64), start_from=path)
    assert resumed.source["started_from"]["timesteps"] == 64
    resumed.close()


def test_the_clock_ends_a_training_even_within_a_rollout(tmp_path, monkeypatch):
    clock = {"seconds": 100.0}
    monkeypatch.setattr("agents.ppo.time.perf_counter", lambda: clock["seconds"])

    def tick(timesteps):
        clock["seconds"] += 1

    trainer = make_trainer(tmp_path)
    # A rollout takes 16 steps of two streams: two fit into 40 seconds, the third does not.
    points = run(trainer, 10**9, minutes=40 / 60, on_step=tick)
    assert [point.timesteps for point in points] == [32, 64]
    assert [point.seconds for point in points] == [16, 32]
    assert clock["seconds"] == 140
    # What was collected since taught nothing, and does not count.
    assert trainer.timesteps == 64
    resumed = make_trainer(tmp_path)
    assert resumed.timesteps == 64
    assert run(resumed, 10**9, minutes=0) == []


def test_learning_rate_falls(tmp_path):
    trainer = make_trainer(tmp_path, replace(TINY, learning_rate=1e-3, final_learning_rate=1e-4))
    rates = []
    for _ in trainer.train(128):
        rates.append(trainer.model.policy.optimizer.param_groups[0]["lr"])
    trainer.close()
    assert rates == pytest.approx([1e-3, 7.75e-4, 5.5e-4, 3.25e-4])


def test_an_interrupt_saves(tmp_path):
    trainer = make_trainer(tmp_path)

    def interrupt(timesteps):
        if timesteps == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(trainer, 320, on_step=interrupt)
    trainer.close()
    resumed = make_trainer(tmp_path)
    # The update under way is lost, its steps are not counted.
    assert resumed.timesteps == 32
    resumed.close()


class FollowTheLight(gym.Env):
    """One side of the picture is bright; stepping to that side is worth 1."""

    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.frame(), {}

    def frame(self):
        self.side = int(self.np_random.integers(2))
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[:, 32 * self.side :][:, :32] = 200
        return frame

    def step(self, action):
        reward = float(action == 1 + self.side)
        self.steps += 1
        return self.frame(), reward, False, self.steps == 8, {}


def make_light_envs(count, seed):
    envs = DummyVecEnv([FollowTheLight] * count)
    envs.seed(seed)
    return envs


@pytest.mark.slow
def test_it_learns(tmp_path):
    config = replace(
        TINY, n_envs=8, n_steps=8, batch_size=64, n_epochs=4, learning_rate=3e-3, gamma=0.5,
        frame_stack=1,
    )  # fmt: skip
    trainer = PPOTrainer(make_light_envs, SPEC, tmp_path, config=config)
    run(trainer, 1024)
    result = evaluate(trainer.policy(), FollowTheLight, range(10))
    # Chance is 8 / 3, the best is 8.
    assert result.returns.mean() > 6
