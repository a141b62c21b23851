"""The toy game at 64 x 64, the least that SB3's convolutional network takes with ease."""

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.toy import ToyGame


class BigToyGame(gym.ObservationWrapper):
    """Each pixel of the toy game four times as wide and as high."""

    def __init__(self, **options):
        super().__init__(ToyGame(**options))
        self.observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)

    def observation(self, observation):
        return observation.repeat(4, axis=0).repeat(4, axis=1)


def make_big_toy_envs(count, seed):
    envs = DummyVecEnv([BigToyGame] * count)
    envs.seed(seed)
    return envs
