"""The toy game at 64 x 64, the least that SB3's convolutional network takes with ease."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.toy import FRAME_SHAPE, ToyGame, ToyRollout, ToyWorld

SCALE = 64 // FRAME_SHAPE[0]


class BigToyGame(gym.ObservationWrapper):
    """Each pixel of the toy game four times as wide and as high."""

    def __init__(self, **options):
        super().__init__(ToyGame(**options))
        self.observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)

    def observation(self, observation):
        return observation.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def make_big_toy_envs(count, seed):
    envs = DummyVecEnv([BigToyGame] * count)
    envs.seed(seed)
    return envs


class BigToyRollout(ToyRollout):
    """Imagines the toy game as before, and shows it larger."""

    def begin(self, contexts, seeds):
        small = contexts.frames[:, :, ::SCALE, ::SCALE]
        return super().begin(replace(contexts, frames=small), seeds)

    def advance(self, state, actions):
        state, outcome = super().advance(state, actions)
        frames = outcome.frames.repeat_interleave(SCALE, dim=1).repeat_interleave(SCALE, dim=2)
        return state, replace(outcome, frames=frames)


class BigToyWorld(ToyWorld):
    """A perfect world of the large toy game; knows the game that it was learned from."""

    def __init__(self):
        super().__init__(
            frame_shape=(64, 64, 3), source={"environment": "tests.agents.big_toy:BigToyGame"}
        )
        small = self.contexts
        large = small.frames.repeat(SCALE, axis=2).repeat(SCALE, axis=3)
        self.contexts = replace(small, frames=large)

    def make_rollout(self, **settings):
        return BigToyRollout(self)
