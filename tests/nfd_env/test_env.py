from __future__ import annotations

import copy
import json
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import nfd_env
from nfd_env.env import NFDWorldEnv
from tests.toy import ToyGame, ToyRollout, ToyWorld, start_clip
from world_model.errors import ActionError, ContextError

TOY = "tests.toy:ToyWorld"


def play(env, actions, seed=None):
    """Frames, rewards, flags and infos of an episode that is not over before the actions are."""
    frame, info = env.reset(seed=seed)
    record = [(frame, 0.0, False, False, info)]
    for action in actions:
        record.append(env.step(action))
        if record[-1][2] or record[-1][3]:
            break
    return record


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x[0], y[0]) and x[1:] == y[1:] for x, y in zip(a, b, strict=True)
    )


def test_equals_the_real_game_over_many_episodes():
    env, game = NFDWorldEnv(ToyWorld()), ToyGame()
    rng = np.random.default_rng(0)
    assert np.array_equal(env.reset(seed=5)[0], game.reset(seed=5)[0])
    ends = []
    for step in range(300):
        action = int(rng.integers(3)) if step < 200 else 0
        imagined, real = env.step(action), game.step(action)
        assert np.array_equal(imagined[0], real[0])
        assert imagined[1:4] == real[1:4]
        if real[2] or real[3]:
            ends.append((real[2], real[3]))
            assert np.array_equal(env.reset()[0], game.reset()[0])
    assert len(ends) > 10


def test_passes_gymnasiums_checker_without_a_warning():
    env = gym.make("NFD-World-v0", world=TOY, render_mode="rgb_array").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Alternative render modes are made, too: the human one has its own test.
        env.metadata["render_modes"] = ["rgb_array"]
        check_env(env)


def test_passes_the_checker_of_stable_baselines3():
    from stable_baselines3.common.env_checker import check_env as check_sb3

    class Large(NFDWorldEnv):
        """SB3 warns about images smaller than 36 pixels: nothing that the toy could help."""

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*minimal resolution.*")
        check_sb3(Large(ToyWorld()), skip_render_check=True)


def test_types_are_pythons_own():
    env = NFDWorldEnv(ToyWorld())
    _, info = env.reset(seed=0)
    frame, reward, terminated, truncated, step_info = env.step(np.int64(1))
    assert frame.dtype == np.uint8
    assert frame.shape == (16, 16, 3)
    assert type(reward) is float
    assert type(terminated) is bool
    assert type(truncated) is bool
    for value in (*info.values(), *step_info.values()):
        assert type(value) in (int, float, str)


def test_frames_are_fresh_arrays():
    env = NFDWorldEnv(ToyWorld())
    frames = [env.reset(seed=0)[0]] + [env.step(0)[0] for _ in range(3)]
    kept = [frame.copy() for frame in frames]
    for frame in frames:
        frame[:] = 7
    assert not np.array_equal(env.step(0)[0], frames[0])
    assert len({kept[i].tobytes() for i in range(4)}) == 4


def test_pickle_and_spec_keep_the_arguments():
    env = gym.make("NFD-World-v0", world=TOY, max_uncertainty=0.5, render_mode="rgb_array")
    spec = gym.envs.registration.EnvSpec.from_json(env.spec.to_json())
    json.loads(env.spec.to_json())
    copies = [pickle.loads(pickle.dumps(env.unwrapped)), gym.make(spec), copy.deepcopy(env)]
    expected = play(env, [0] * 9, seed=3)
    for other in copies:
        assert other.unwrapped.core.limits.max_uncertainty == 0.5
        assert other.render_mode == "rgb_array"
        assert same(play(other, [0] * 9, seed=3), expected)


def test_a_world_object_pickles_with_its_environment():
    env = NFDWorldEnv(ToyWorld(max_misses=4))
    assert pickle.loads(pickle.dumps(env)).world.max_misses == 4


def test_a_rollout_is_accepted_as_it_is():
    rollout = ToyRollout(ToyWorld())
    assert NFDWorldEnv(rollout).core.rollout is rollout
    with pytest.raises(ValueError, match="sampling_steps"):
        NFDWorldEnv(rollout, sampling_steps=2)


def test_model_id_and_frame_rate_come_from_the_world():
    env = gym.make("NFD-World-v0", world=TOY)
    assert env.unwrapped.model_id == "toy@1#000000000000"
    assert env.metadata["render_fps"] == 10.0
    assert NFDWorldEnv.metadata["render_fps"] == 20


# -- seeds -----------------------------------------------------------------------------------------


def test_a_seed_fixes_the_episode_and_those_after_it():
    actions = np.random.default_rng(0).integers(3, size=60).tolist()
    one, two = NFDWorldEnv(ToyWorld()), NFDWorldEnv(ToyWorld())
    play(two, actions, seed=99)  # what happened before does not matter
    np.random.seed(0)  # noqa: NPY002  (nor does anybody's global generator)
    assert same(play(one, actions, seed=4), play(two, actions, seed=4))
    np.random.seed(1)  # noqa: NPY002
    for _ in range(3):
        assert same(play(one, actions), play(two, actions))


def test_an_episode_is_repeated_from_the_seed_in_its_info():
    env = NFDWorldEnv(ToyWorld())
    env.reset(seed=8)
    later = [play(env, [2] * 30) for _ in range(4)]
    seeds = [episode[0][4]["episode_seed"] for episode in later]
    assert len(set(seeds)) == 4
    again = play(NFDWorldEnv(ToyWorld()), [2] * 30, seed=seeds[3])
    assert same(again, later[3])


def test_without_any_seed_episodes_differ():
    seeds = [NFDWorldEnv(ToyWorld()).reset()[1]["episode_seed"] for _ in range(4)]
    assert len(set(seeds)) == 4


def test_action_space_is_not_shared():
    one, two = NFDWorldEnv(world := ToyWorld()), NFDWorldEnv(world)
    one.action_space.seed(0)
    expected = [one.action_space.sample() for _ in range(20)]
    one.action_space.seed(0)
    for action in expected:
        two.action_space.sample()
        assert one.action_space.sample() == action


# -- ends ------------------------------------------------------------------------------------------


def test_the_horizon_is_the_worlds_unless_given():
    for settings, length in (({}, 40), ({"max_episode_steps": 12}, 12)):
        record = play(NFDWorldEnv(ToyWorld(max_misses=99), **settings), [0] * 100, seed=1)
        assert len(record) - 1 == length
        assert record[-1][2:4] == (False, True)
        assert record[-1][4]["truncation_reason"] == "horizon"
        assert all("truncation_reason" not in step[4] for step in record[:-1])


def test_max_episode_steps_of_make_is_honoured():
    env = gym.make("NFD-World-v0", world=TOY, max_episode_steps=6)
    record = play(env, [0] * 100, seed=1)
    assert len(record) - 1 == 6
    assert record[-1][3]


def test_terminated_comes_from_the_world():
    record = play(NFDWorldEnv(ToyWorld(max_misses=1)), [1] * 100, seed=2)
    assert record[-1][1:4] == (-1.0, True, False)
    assert "truncation_reason" not in record[-1][4]
    assert record[-1][4]["termination_probability"] == 1.0


def test_endless_switches_terminations_and_the_horizon_off():
    env = NFDWorldEnv(ToyWorld(), endless=True, max_episode_steps=5)
    record = play(env, [1] * 200, seed=2)
    assert len(record) == 201
    assert record[-1][4]["imagined_steps"] == 200
    # What the world thinks can still be read.
    assert max(step[4]["termination_probability"] for step in record) == 1.0


def test_uncertainty_truncates():
    env = NFDWorldEnv(ToyWorld(uncertain=True), max_uncertainty=0.5)
    record = play(env, [0] * 100, seed=1)
    assert record[-1][2:4] == (False, True)
    assert record[-1][4]["truncation_reason"] == "uncertainty"
    assert record[-1][4]["uncertainty"] == 1.0
    lenient = NFDWorldEnv(ToyWorld(uncertain=True), max_uncertainty=1.0)
    assert len(play(lenient, [0] * 100, seed=1)) > len(record)


def test_stepping_on_after_the_end_is_an_error():
    env = NFDWorldEnv(ToyWorld(), max_episode_steps=1)
    with pytest.raises(ResetNeeded, match=r"reset\(\)"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ResetNeeded, match="ended"):
        env.step(0)


def test_the_reward_belongs_to_the_action_that_earned_it():
    env = NFDWorldEnv(ToyWorld(max_misses=99))
    rng = np.random.default_rng(0)
    deciding = 0
    for seed in range(60):
        env.reset(seed=seed)
        snapshot = None
        for _ in range(12):
            snapshot, before = env.save_state(), env.core.observations[0].copy()
            frame, reward, *_ = env.step(int(rng.integers(3)))
            if reward:
                break
        assert snapshot is not None
        outcomes = []
        for action in range(3):
            env.restore_state(snapshot)
            frame, reward, *_ = env.step(action)
            ball, paddle = frame[-1, :, 0] > 0, frame[-1, :, 1] > 0
            caught = ball.any() and paddle[ball].all()
            assert reward == (1.0 if caught else -1.0)
            outcomes.append(reward)
        deciding += len(set(outcomes)) > 1
        assert before[-1, :, 0].max() == 0  # the ball was not there before
    assert deciding > 10


@pytest.mark.parametrize("action", [3, -1, 1.5, float("nan"), "left", None, [1], np.zeros(2)])
def test_wrong_actions(action):
    env = NFDWorldEnv(ToyWorld())
    frame = env.reset(seed=0)[0]
    with pytest.raises(ActionError):
        env.step(action)
    # The episode goes on as if nothing had been asked.
    assert env.step(0)[4]["imagined_steps"] == 1
    assert np.array_equal(env.reset(seed=0)[0], frame)


# -- snapshots -------------------------------------------------------------------------------------


def test_a_restored_episode_repeats_itself_end_and_successors_included():
    actions = np.random.default_rng(3).integers(3, size=50).tolist()
    env = NFDWorldEnv(ToyWorld(max_misses=99), max_episode_steps=20)
    env.reset(seed=6)
    env.reset()
    for action in actions[:7]:
        env.step(action)
    snapshot = env.save_state()

    def go_on(env):
        record = []
        for action in actions[7:]:
            record.append(env.step(action))
            if record[-1][2] or record[-1][3]:
                record.append((*env.reset(),))
        return record

    expected = go_on(env)
    assert expected[12][4]["truncation_reason"] == "horizon"  # step 20 of the episode
    stored = pickle.loads(pickle.dumps(snapshot))
    for target in (env, NFDWorldEnv(ToyWorld(max_misses=99), max_episode_steps=20)):
        for kept in (snapshot, stored):
            frame = target.restore_state(kept)
            assert np.array_equal(frame, snapshot.observations[0])
            again = go_on(target)
            assert all(
                np.array_equal(x[0], y[0]) and x[1:] == y[1:]
                for x, y in zip(expected, again, strict=True)
            )


def test_a_snapshot_can_be_given_to_reset():
    env = NFDWorldEnv(ToyWorld())
    env.reset(seed=2)
    for action in (1, 1, 2):
        frame, *_ = env.step(action)
    snapshot = env.save_state()
    expected = [env.step(0) for _ in range(4)]
    other = gym.make("NFD-World-v0", world=TOY)
    first, info = other.reset(options={"snapshot": snapshot})
    assert np.array_equal(first, frame)
    assert info["imagined_steps"] == 3
    assert same([other.step(0) for _ in range(4)], expected)


def test_a_seed_beside_a_snapshot_draws_another_future():
    env = NFDWorldEnv(ToyWorld(max_misses=99))
    env.reset(seed=2)
    env.step(1)
    snapshot = env.save_state()
    futures = {}
    for seed in (2, 77, 78, 79):
        frames = []
        for restore in (
            lambda seed: env.restore_state(snapshot, seed=seed),
            lambda seed: env.reset(seed=seed, options={"snapshot": snapshot})[0],
        ):
            assert np.array_equal(restore(seed), snapshot.observations[0])
            frames.append(np.stack([env.step(0)[0] for _ in range(20)]))
        assert np.array_equal(*frames)
        futures[seed] = frames[0].tobytes()
    assert len(set(futures.values())) > 2
    env.restore_state(snapshot)
    assert np.stack([env.step(0)[0] for _ in range(20)]).tobytes() == futures[2]
    # The episodes that follow are those of the new seed.
    env.restore_state(snapshot, seed=77)
    other = NFDWorldEnv(ToyWorld())
    other.reset(seed=77)
    assert env.reset()[1] == other.reset()[1]


def test_a_snapshot_of_another_world_is_refused():
    env, other = NFDWorldEnv(ToyWorld()), ToyWorld()
    other.model_id = "other@1#111111111111"
    env.reset(seed=0)
    with pytest.raises(ContextError, match="other@1"):
        NFDWorldEnv(other).restore_state(env.save_state())
    with pytest.raises(ContextError, match="save_state"):
        env.reset(options={"snapshot": {"steps": 3}})
    with pytest.raises(ResetNeeded):
        NFDWorldEnv(ToyWorld()).save_state()


def test_the_horizon_can_be_set_between_steps():
    env = gym.make("NFD-World-v0", world="tests.toy:ToyWorld").unwrapped
    env.max_episode_steps = 3
    assert len(play(env, [0] * 9, seed=0)) - 1 == 3
    with pytest.raises(ValueError, match="max_episode_steps=0"):
        env.max_episode_steps = 0
    assert env.max_episode_steps == 3


# -- given frames ----------------------------------------------------------------------------------


def test_given_frames_start_the_episode():
    env = NFDWorldEnv(ToyWorld())
    frames, actions = start_clip(3)
    frame, info = env.reset(seed=1, options={"frames": frames, "actions": actions})
    assert np.array_equal(frame, frames[-1])
    assert info["episode_seed"] == 1
    # The clip is copied, and the next episode starts as usual again.
    frames[:] = 0
    assert env.step(0)[0].any()
    assert env.reset()[1]["episode_seed"] != 1


# -- rendering, reward function, closing -----------------------------------------------------------


def test_rgb_array_shows_the_newest_frame():
    env = NFDWorldEnv(ToyWorld(), render_mode="rgb_array")
    frame, _ = env.reset(seed=0)
    assert np.array_equal(env.render(), frame)
    env.render()[:] = 0
    frame = env.step(0)[0]
    assert np.array_equal(env.render(), frame)
    assert NFDWorldEnv(ToyWorld()).render() is None
    with pytest.raises(ValueError, match="ansi"):
        NFDWorldEnv(ToyWorld(), render_mode="ansi")


def green_pixels(frames, actions, next_frames):
    """A reward function: green pixels gained, less a tenth of the action."""
    assert frames.dtype == next_frames.dtype == np.uint8
    gained = (next_frames[..., 1] > 0).sum((1, 2)) - (frames[..., 1] > 0).sum((1, 2))
    return gained - 0.1 * actions[:, 0]


def test_a_reward_function_replaces_the_reward():
    for function in (green_pixels, "tests.nfd_env.test_env:green_pixels"):
        env = NFDWorldEnv(ToyWorld(), reward_function=function)
        env.reset(seed=0)
        assert env.step(2)[1] == pytest.approx(-0.2)
    wrong = NFDWorldEnv(ToyWorld(), reward_function=lambda *_: np.zeros(3))
    wrong.reset(seed=0)
    with pytest.raises(ValueError, match="reward function"):
        wrong.step(0)


def test_closing_twice_is_fine():
    env = gym.make("NFD-World-v0", world=TOY, render_mode="rgb_array")
    env.reset(seed=0)
    env.close()
    env.close()


def test_lazy_names():
    assert nfd_env.NFDWorldEnv is NFDWorldEnv
    assert "make_sb3_vec_env" in dir(nfd_env)
    with pytest.raises(AttributeError, match="no_such_name"):
        nfd_env.no_such_name  # noqa: B018
