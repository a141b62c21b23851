"""The toy must be right, or the tests that stand on it mean nothing."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.utils.env_checker import check_env

from tests.toy import (
    BOTTOM,
    CELLS,
    ToyGame,
    ToyRollout,
    ToyWorld,
    catching_policy,
    draw,
    read,
    record_episode,
    spawn_column,
)


def test_frames_encode_the_state_exactly():
    states = np.array(
        [(p, r, c) for p in range(CELLS - 1) for r in range(CELLS) for c in range(CELLS)]
    )
    assert np.array_equal(np.stack(read(draw(*states.T)), axis=1), states)


def test_spawn_columns_agree_between_ints_and_tensors_and_spread():
    seeds = [0, 1, 2**31, 2**62 + 12345, 2**63 - 1]
    for ball in (0, 1, 77):
        columns = spawn_column(torch.tensor(seeds), torch.tensor([ball] * len(seeds)))
        assert columns.tolist() == [spawn_column(seed, ball) for seed in seeds]
    counts = np.bincount([spawn_column(5, ball) for ball in range(800)], minlength=CELLS)
    assert counts.min() > 60


def test_game_is_a_valid_environment():
    check_env(ToyGame(), skip_render_check=True)


def test_catching_pays_and_missing_ends_the_episode():
    game = ToyGame(max_misses=2, max_episode_steps=400)
    lazy = record_episode(3, lambda frame, rng: 0, game)
    keen = record_episode(3, catching_policy, game)
    assert keen.rewards.sum() > lazy.rewards.sum()
    assert (lazy.rewards == -1).sum() == 2
    assert lazy.terminated[-1]
    assert lazy.rewards[-1] == -1
    # A reward belongs to the transition whose second frame shows the ball at the bottom.
    rows = lazy.state[1:, 1]
    assert np.array_equal(lazy.rewards != 0, rows == BOTTOM)


def test_rollout_imagines_the_game_exactly():
    world, game = ToyWorld(max_misses=3), ToyGame(max_misses=3)
    rollout = ToyRollout(world)
    from nfd_env.seeding import draw_index

    frame, _ = game.reset(seed=11)
    contexts = world.contexts.pick([draw_index(11, len(world.contexts))])
    assert np.array_equal(contexts.frames[0, -1].numpy(), frame)
    state = rollout.begin(contexts, torch.tensor([11]))
    rng = np.random.default_rng(0)
    for _ in range(60):
        action = int(rng.integers(3))
        frame, reward, terminated, _, _ = game.step(action)
        state, outcome = rollout.advance(state, torch.tensor([[float(action)]]))
        assert np.array_equal(outcome.frames[0].numpy(), frame)
        assert outcome.rewards.tolist() == [reward]
        assert outcome.terminated.tolist() == [terminated]


def test_dropping_the_terminal_frame_leaves_as_many_actions_as_frames():
    whole = record_episode(3, lambda frame, rng: 0)
    dropped = record_episode(3, lambda frame, rng: 0, drop_last_frame=True)
    assert len(whole.frames) == len(whole.actions) + 1
    assert len(dropped.frames) == len(dropped.actions) == len(whole.actions)
