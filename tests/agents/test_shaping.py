"""Rewards shaped by what the outcome model expects an action to cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.shaping import ForeseenChange
from nfd_env import make_sb3_vec_env
from tests.agents.big_toy import BigToyGame
from tests.world_model.tiny import randomise, tiny_world
from world_model.errors import ActionError, NFDError
from world_model.minecraft.formats import FORMATS
from world_model.outcome import OutcomeModel
from world_model.outcome_config import OutcomeConfig


def make_world(spec=None):
    """A world that knows two states of its player, at random."""
    world = tiny_world(spec=spec)
    config = OutcomeConfig.for_frames(
        world.config.frame_shape,
        hidden=16,
        embedding=16,
        state_names=("armour", "health"),
        state_supports=((0.0, 1.0), (0.0, 50.0, 100.0)),
        change_supports=((-1.0, 0.0), (-50.0, -10.0, 0.0)),
    )
    torch.manual_seed(0)
    outcome = OutcomeModel(config, world.action_spec)
    randomise(outcome)
    world.outcome = outcome.eval().requires_grad_(False)
    return world


def test_rewards_hold_what_the_action_is_expected_to_cost():
    world = make_world()
    settings = {"world": world, "max_episode_steps": 3}
    plain = make_sb3_vec_env("NFD-World-v0", n_envs=2, **settings)
    shaped = ForeseenChange(make_sb3_vec_env("NFD-World-v0", n_envs=2, **settings), "health", 2.0)
    for envs in (plain, shaped):
        envs.seed(0)
        envs.reset()
    costs = []
    for step in range(8):  # across ends of episodes
        actions = np.array([step % 3, (step + 1) % 3])
        memory = plain.core.state.memory.clone()
        encoded = torch.from_numpy(world.action_spec.encode_batch(actions, 2))
        expected = world.outcome.expected_changes(memory, encoded)[:, 1].numpy()
        _, rewards, dones, _ = plain.step(actions)
        _, more, same, _ = shaped.step(actions)
        np.testing.assert_allclose(more - rewards, 2.0 * expected, rtol=1e-4, atol=1e-4)
        assert dones.tolist() == same.tolist()
        costs += expected.tolist()
    assert -50 < min(costs) < max(costs) < 0


def test_actions_of_another_mode_cost_what_they_are_in_the_world():
    settings = {"world": make_world(FORMATS["minerl"].spec), "n_envs": 2, "endless": True}
    shaped = [
        ForeseenChange(make_sb3_vec_env(**settings, action_mode=mode), "health", 2.0)
        for mode in ("discrete", "multidiscrete")
    ]
    said = [np.array([1, 10]), np.array([[0, 1, *[0] * 6, 5, 5], [*[0] * 6, 1, 0, 5, 5]])]
    rewards = []
    for envs, actions in zip(shaped, said, strict=True):
        envs.seed(0)
        envs.reset()
        rewards.append(envs.step(actions)[1])
    np.testing.assert_array_equal(rewards[0], rewards[1])


def test_the_expectation_depends_on_the_action_and_is_that_of_the_whole_sequence():
    world = make_world()
    outcome = world.outcome
    frames = torch.randint(0, 256, (2, 3, *world.config.frame_shape), dtype=torch.uint8)
    actions = torch.zeros(2, 3, 1)
    sequence = outcome.forward_sequence(frames, actions, actions)
    support = torch.tensor(outcome.config.change_supports[1])
    whole = (sequence.next_change_scores[1][:, -1].softmax(-1) * support).sum(-1)
    changes = outcome.expected_changes(sequence.memory, actions[:, -1])
    assert changes.shape == (2, 2)
    torch.testing.assert_close(changes[:, 1], whole, atol=1e-4, rtol=1e-4)
    other = outcome.expected_changes(sequence.memory, actions[:, -1] + 1)
    assert not torch.allclose(changes, other, atol=1e-3)
    with pytest.raises(ActionError, match="expected \\(2, 1\\)"):
        outcome.expected_changes(sequence.memory, torch.zeros(3, 1))
    nothing = tiny_world().outcome
    assert nothing.expected_changes(nothing.initial_memory(4), torch.zeros(4, 1)).shape == (4, 0)


def test_what_the_world_does_not_know_cannot_shape():
    envs = make_sb3_vec_env("NFD-World-v0", world=make_world())
    with pytest.raises(NFDError, match="knows armour, health"):
        ForeseenChange(envs, "mana", 1.0)
    for ignorant in (
        make_sb3_vec_env("NFD-World-v0", world=tiny_world()),
        DummyVecEnv([BigToyGame]),
    ):
        with pytest.raises(NFDError, match="knows nothing"):
            ForeseenChange(ignorant, "health", 1.0)
