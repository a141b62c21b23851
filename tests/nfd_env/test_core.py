from __future__ import annotations

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from nfd_env.building import build_core
from tests.toy import ToyWorld
from tests.world_model.tiny import tiny_world


def column(action, count):
    return np.full((count, 1), action, np.float32)


def test_the_caller_may_reuse_its_array_of_actions():
    """The rollout keeps the last action: it must not be a view of what the caller owns."""
    cores = [build_core(2, tiny_world(), sampling_steps=1, endless=True) for _ in range(2)]
    array = column(0, 2)
    frames = []
    for core, actions in zip(cores, (array, array.copy()), strict=True):
        core.reset(seeds=[1, 2])
        core.step(actions)
        array[:] = 2
        frames.append(core.step(column(1, 2)).observations)
    assert np.array_equal(*frames)


def test_the_reward_function_sees_the_frames_on_both_sides_of_the_action():
    seen = []

    def reward(frames, actions, next_frames):
        seen.append((frames, actions, next_frames))
        return np.arange(3.0)

    core = build_core(3, ToyWorld(), reward_function=reward)
    core.reset(seeds=[0, 1, 2])
    before = core.observations.copy()
    for action in (0, 1, 2):
        result = core.step(column(action, 3))
        frames, actions, next_frames = seen[-1]
        assert np.array_equal(frames, before)
        assert np.array_equal(actions, column(action, 3))
        assert np.array_equal(next_frames, result.observations)
        assert result.rewards.tolist() == [0, 1, 2]
        frames[:] = next_frames[:] = 0  # theirs to keep
        before = result.observations
    assert np.array_equal(core.observations, before)


def test_a_failed_reset_changes_nothing():
    core = build_core(3, ToyWorld())
    core.reset(seeds=[0, 1, 2])
    core.step(column(0, 3))
    expected = core.save()
    draw = core.starts.draw
    core.starts.draw = lambda seeds: draw(seeds)[1:]
    with pytest.raises(ValueError, match="gave 1 contexts for 2"):
        core.reset(np.array([True, False, True]), seeds=[7, 8, 9])
    after = core.save()
    assert np.array_equal(after.steps, expected.steps)
    assert np.array_equal(after.seeds.firsts, expected.seeds.firsts)
    assert np.array_equal(after.observations, expected.observations)


def test_saving_some_streams_in_any_order():
    core = build_core(4, ToyWorld())
    core.reset(seeds=[0, 1, 2, 3])
    core.step(column(1, 4))
    snapshot = core.save()
    part = core.save([3, 1, 1])
    same = snapshot.select([3, 1, 1])
    for one in (part, same):
        assert one.batch_size == one.state.batch_size == 3
        assert one.seeds.firsts.tolist() == [3, 1, 1]
        assert np.array_equal(one.observations, snapshot.observations[[3, 1, 1]])
    # All streams, but not in their order.
    core.restore(snapshot.select([1, 0, 3, 2]), [1, 0, 3, 2])
    assert np.array_equal(core.observations, snapshot.observations)
    assert core.state.seeds.tolist() == [0, 1, 2, 3]


def test_what_needs_a_reset_says_so():
    core = build_core(2, ToyWorld())
    with pytest.raises(ResetNeeded, match="nothing to save"):
        core.save()
    with pytest.raises(ResetNeeded, match="never began"):
        core.step(column(0, 2))
    other = build_core(1, ToyWorld())
    other.reset()
    with pytest.raises(ResetNeeded, match="all streams once"):
        core.restore(other.save(), [1])


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one_stream(count):
    with pytest.raises(ValueError, match=f"num_envs={count}"):
        build_core(count, ToyWorld())


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="seed=-3"):
        build_core(1, ToyWorld()).reset(seeds=[-3])


def test_some_streams_step_and_the_others_stay():
    """Streams that step alone, at different times, see what they would have seen together."""
    together, apart = (build_core(3, ToyWorld(), endless=True) for _ in range(2))
    for core in (together, apart):
        core.reset(seeds=[4, 5, 6])
    actions = np.random.default_rng(0).integers(0, 3, (12, 3, 1)).astype(np.float32)
    expected = [together.step(action) for action in actions]
    for stream in (2, 0):
        for t, action in enumerate(actions):
            before = apart.observations
            result = apart.step_some([stream], action[[stream]])
            assert np.array_equal(result.observations[0], expected[t].observations[stream])
            assert result.rewards.tolist() == [expected[t].rewards[stream]]
            assert result.steps.tolist() == [t + 1]
            changed = (apart.observations != before).any(axis=(1, 2, 3))
            assert changed.nonzero()[0].tolist() == [stream]
    assert apart.steps.tolist() == [12, 0, 12]


def test_some_streams_of_a_network_step_as_all_do():
    together, apart = (
        build_core(3, tiny_world(), sampling_steps=1, endless=True) for _ in range(2)
    )
    for core in (together, apart):
        core.reset(seeds=[4, 5, 6])
    for action in (0, 2, 1, 1, 2):
        expected = together.step(column(action, 3)).observations.astype(int)
        assert (
            np.abs(apart.step_some([2, 0], column(action, 2)).observations - expected[[2, 0]]).max()
            <= 1
        )


def test_all_streams_in_another_order_keep_their_frames():
    together, apart = (build_core(3, ToyWorld(), endless=True) for _ in range(2))
    for core in (together, apart):
        core.reset(seeds=[4, 5, 6])
    actions = np.array([[0], [1], [2]], np.float32)
    expected = together.step(actions)
    step = apart.step_some([2, 0, 1], actions[[2, 0, 1]])
    np.testing.assert_array_equal(step.observations, expected.observations[[2, 0, 1]])
    np.testing.assert_array_equal(apart.observations, expected.observations)


def test_a_stream_that_has_ended_does_not_step_alone():
    core = build_core(2, ToyWorld(max_misses=1), max_episode_steps=2)
    core.reset(seeds=[0, 1])
    core.step_some([1], column(0, 1))
    assert core.step_some([1], column(0, 1)).truncated.tolist() == [True]
    with pytest.raises(ResetNeeded, match="stream 1 has ended"):
        core.step_some([1], column(0, 1))
    core.step_some([0], column(0, 1))
    with pytest.raises(ValueError, match="twice"):
        core.step_some([0, 0], column(0, 2))


def test_all_streams_in_another_order():
    core = build_core(3, ToyWorld(), endless=True)
    core.reset(seeds=[4, 5, 6])
    result = core.step_some([2, 0, 1], column(1, 3))
    assert np.array_equal(core.observations[[2, 0, 1]], result.observations)
    assert len(np.unique(result.observations.reshape(3, -1), axis=0)) > 1
