"""Rewards shaped by what the outcome model expects of the state."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.shaping import PotentialShaping
from nfd_env import make_sb3_vec_env
from tests.world_model.tiny import tiny_world
from world_model.errors import NFDError
from world_model.outcome import OutcomeModel
from world_model.outcome_config import OutcomeConfig


class Counting:
    """Stands for an outcome model: the memory is the state itself."""

    config = SimpleNamespace(state_names=("place", "health"))

    def states(self, memory):
        return torch.stack([memory, 10 * memory], dim=1)


class Envs(DummyVecEnv):
    """Two streams whose memory is 1, 2, 3, ...; the second ends, in time or not, at 3."""

    def __init__(self, cut_off: bool) -> None:
        import gymnasium as gym

        super().__init__([lambda: gym.make("CartPole-v1")] * 2)
        self.cut_off = cut_off
        self.core = SimpleNamespace(
            world=SimpleNamespace(outcome=Counting()), state=SimpleNamespace(memory=None)
        )

    def reset(self):
        self.core.state.memory = torch.tensor([1.0, 1.0])
        return np.zeros((2, 4), np.float32)

    def step_wait(self):
        memory = self.core.state.memory + 1
        dones = np.array([False, memory[1] == 3])
        infos = [{}, {"TimeLimit.truncated": bool(dones[1] and self.cut_off)}]
        if dones[1]:
            memory[1] = 1.0  # the next episode has begun
        self.core.state.memory = memory
        return np.zeros((2, 4), np.float32), np.ones(2, np.float32), dones, infos


@pytest.mark.parametrize("cut_off", [False, True])
def test_what_is_gained_and_lost_is_rewarded_at_once(cut_off):
    envs = PotentialShaping(Envs(cut_off), "health", 0.5, gamma=0.9)
    envs.reset()
    rewards = [envs.step(np.zeros(2, int))[1] for _ in range(3)]
    # The potential is 5 times the memory; 1 is the reward of the environment.
    assert rewards[0] == pytest.approx([1 + 0.9 * 10 - 5] * 2)
    assert rewards[1][0] == pytest.approx(1 + 0.9 * 15 - 10)
    assert rewards[1][1] == pytest.approx(1.0 if cut_off else 1 - 10)
    assert rewards[2][1] == pytest.approx(1 + 0.9 * 10 - 5)  # of the next episode


def test_over_a_whole_episode_only_the_beginning_counts():
    """Discounted, the potentials cancel: no policy gains by being shaped."""
    world = tiny_world()
    config = OutcomeConfig.for_frames(
        world.config.frame_shape,
        hidden=16,
        embedding=16,
        state_names=("health",),
        state_supports=((0.0, 50.0, 100.0),),
        change_supports=((-50.0, 0.0),),
    )
    torch.manual_seed(0)
    world.outcome = OutcomeModel(config, world.action_spec).eval().requires_grad_(False)
    settings = {"world": world, "max_episode_steps": 9, "termination_mode": "never"}
    plain = make_sb3_vec_env("NFD-World-v0", n_envs=2, **settings)
    shaped = PotentialShaping(
        make_sb3_vec_env("NFD-World-v0", n_envs=2, **settings), "health", 2.0, gamma=0.9
    )
    for envs in (plain, shaped):
        envs.seed(0)
        envs.reset()
    begun = shaped._before.copy()
    gained = np.zeros(2)
    for step in range(8):
        rewards = [envs.step(np.ones(2, int))[1] for envs in (plain, shaped)]
        gained += 0.9**step * (rewards[1] - rewards[0])
    assert gained == pytest.approx(0.9**8 * shaped._before - begun, rel=1e-4)


def test_what_the_world_does_not_know_cannot_shape():
    with pytest.raises(NFDError, match="knows place, health"):
        PotentialShaping(Envs(False), "mana", 1.0, 0.99)
    with pytest.raises(NFDError, match="knows nothing"):
        PotentialShaping(make_sb3_vec_env("NFD-World-v0", world=tiny_world()), "health", 1.0, 0.99)
