import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from agents.repeating import ActionRepeat


class Counting(gym.Env):
    """Shows its step, rewards ten times the episode plus the step, ends after ``length`` steps."""

    observation_space = spaces.Box(0, 255, (1,), np.uint8)
    action_space = spaces.Discrete(3)

    def __init__(self, length):
        self.length, self.episode, self.taken = length, -1, []

    def reset(self, *, seed=None, options=None):
        self.episode, self.step_number = self.episode + 1, 0
        return np.array([0], np.uint8), {}

    def step(self, action):
        self.step_number += 1
        self.taken.append(int(action))
        reward = 10.0 * self.episode + self.step_number
        ended = self.step_number == self.length
        return np.array([self.step_number], np.uint8), reward, ended, False, {}


def make(repeat, *lengths):
    envs = DummyVecEnv([lambda length=length: Counting(length) for length in lengths])
    return envs, ActionRepeat(VecMonitor(envs), repeat)


def test_every_action_is_held_and_its_rewards_add_up():
    envs, repeated = make(3, 100, 100)
    repeated.reset()
    observations, rewards, dones, _ = repeated.step(np.array([1, 2]))
    assert observations[:, 0].tolist() == [3, 3]
    assert rewards.tolist() == [6.0, 6.0]
    assert not dones.any()
    observations, rewards, _, _ = repeated.step(np.array([0, 1]))
    assert observations[:, 0].tolist() == [6, 6]
    assert rewards.tolist() == [15.0, 15.0]
    assert envs.envs[0].taken == [1, 1, 1, 0, 0, 0]
    assert envs.envs[1].taken == [2, 2, 2, 1, 1, 1]


def test_an_episode_that_ends_within_a_repeat_ends_the_transition():
    _, repeated = make(3, 4, 100)
    repeated.reset()
    repeated.step(np.array([1, 1]))
    observations, rewards, dones, infos = repeated.step(np.array([1, 1]))
    # One step of the old episode counts; two of the next one went by, and count for nothing.
    assert rewards.tolist() == [4.0, 15.0]
    assert dones.tolist() == [True, False]
    assert infos[0]["terminal_observation"].tolist() == [4]
    assert infos[0]["episode"]["r"] == 10.0
    assert "terminal_observation" not in infos[1]
    assert observations[:, 0].tolist() == [2, 6]
    _, rewards, dones, _ = repeated.step(np.array([1, 1]))
    assert rewards.tolist() == [13 + 14, 7 + 8 + 9]
    assert dones.tolist() == [True, False]


def test_repeat_of_one_changes_nothing():
    _, repeated = make(1, 2)
    repeated.reset()
    assert repeated.step(np.array([0]))[1].tolist() == [1.0]
    assert repeated.step(np.array([0]))[2].tolist() == [True]
    with pytest.raises(ValueError, match="at least 1"):
        make(0, 2)
