import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents.evaluation import evaluate, evaluate_vector
from agents.policies import make_policy


class CountDown(gym.Env):
    """Lasts ``length(seed)`` steps, each worth 1, the last one 10; shows the time as a grey."""

    def __init__(self, long=50, short=2, horizon=1000):
        self.observation_space = gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(3)
        self.long, self.short, self.horizon = long, short, horizon
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = self.long if self.np_random.random() < 0.5 else self.short
        self.time = 0
        return self.frame(), {}

    def frame(self):
        return np.full((4, 4, 3), self.time, np.uint8)

    def step(self, action):
        self.time += 1
        terminated = self.time >= self.length
        truncated = not terminated and self.time >= self.horizon
        return self.frame(), 10.0 if terminated else 1.0, terminated, truncated, {}

    def close(self):
        self.closed = True


class Recorder:
    """A policy that remembers the first observation after each start."""

    name = "recorder"

    def __init__(self):
        self.fresh = []

    def begin(self, seeds):
        return {"new": [True] * len(seeds), "seeds": list(seeds)}

    def restart(self, state, stream, seed):
        state["new"][stream] = True
        state["seeds"][stream] = seed

    def act(self, observations, state):
        for i, new in enumerate(state["new"]):
            if new:
                self.fresh.append(int(observations[i, 0, 0, 0]))
        state["new"] = [False] * len(observations)
        return np.zeros(len(observations), np.int64)


def true_length(seed, **options):
    env = CountDown(**options)
    env.reset(seed=seed)
    return env.length


@pytest.mark.parametrize("streams", [1, 3, 50])
def test_real_episodes_follow_their_seeds_whatever_the_number_of_streams(streams):
    seeds = list(range(20))
    result = evaluate(
        make_policy("noop", CountDown().action_space), CountDown, seeds, streams=streams
    )
    lengths = [true_length(seed) for seed in seeds]
    assert len(set(lengths)) == 2
    assert result.lengths.tolist() == lengths
    assert result.returns.tolist() == [length + 9.0 for length in lengths]
    assert result.terminated.all()


def test_environments_are_closed_when_a_policy_fails():
    made = []

    def make_env():
        made.append(CountDown())
        return made[-1]

    class Failing(Recorder):
        def act(self, observations, state):
            raise RuntimeError("no idea")

    with pytest.raises(RuntimeError, match="no idea"):
        evaluate(Failing(), make_env, [0, 1], streams=2)
    assert [env.closed for env in made] == [True, True]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_episodes_are_the_first_of_every_stream(mode):
    envs = SyncVectorEnv([CountDown] * 4, autoreset_mode=mode)
    result = evaluate_vector(make_policy("noop", envs.single_action_space), envs, 10, seed=3)
    # The same streams by hand: each generator is seeded once, and goes on.
    expected = []
    for stream, quota in enumerate([3, 3, 2, 2]):
        rng, _ = gym.utils.seeding.np_random(3 + stream)
        expected += [50 if rng.random() < 0.5 else 2 for _ in range(quota)]
    assert result.lengths.tolist() == expected
    assert result.returns.tolist() == [length + 9.0 for length in expected]


def test_short_episodes_are_not_favoured():
    envs = SyncVectorEnv([CountDown] * 16, autoreset_mode=AutoresetMode.SAME_STEP)
    result = evaluate_vector(make_policy("noop", envs.single_action_space), envs, 320, seed=0)
    # Half of the episodes are long. Whoever counts the first 320 that end sees few of them.
    assert np.mean(result.lengths == 50) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_policies_restart_on_the_first_observation_of_an_episode(mode):
    policy = Recorder()
    envs = SyncVectorEnv([CountDown] * 3, autoreset_mode=mode)
    evaluate_vector(policy, envs, 12)
    assert len(policy.fresh) >= 12
    assert set(policy.fresh) == {0}


def test_truncation_is_told_from_termination():
    result = evaluate(
        make_policy("noop", CountDown().action_space), lambda: CountDown(horizon=10), range(8)
    )
    np.testing.assert_array_equal(result.terminated, result.lengths == 2)
    assert result.lengths.max() == 10
    assert result.to_dict()["truncated"] == int((result.lengths == 10).sum())


def test_progress_is_reported_once_an_episode():
    seen = []
    policy = make_policy("uniform", CountDown().action_space)
    result = evaluate(policy, CountDown, range(5), on_episode=lambda r, n: seen.append((r, n)))
    assert sorted(seen) == sorted(zip(result.returns, result.lengths, strict=True))


def test_endless_episodes_and_unusable_modes_are_refused():
    policy = make_policy("noop", CountDown().action_space)
    endless = SyncVectorEnv([lambda: CountDown(long=10**9, short=10**9, horizon=10**9)])
    with pytest.raises(RuntimeError, match="0 of 2 episodes ended within 30 steps"):
        evaluate_vector(policy, endless, 2, step_limit=30)
    disabled = SyncVectorEnv([CountDown], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="autoreset"):
        evaluate_vector(policy, disabled, 1)
    with pytest.raises(ValueError, match="no seeds"):
        evaluate(policy, CountDown, [])


@pytest.mark.slow
def test_the_real_game_gives_every_seed_its_episode():
    pytest.importorskip("vizdoom")
    from agents.environments import real_action_spec, real_environment

    spec = real_action_spec("doom-take-cover")
    policy = make_policy("sweep-5", spec.space, spec.groups[0].labels)
    make_env = real_environment("doom-take-cover")
    alone = evaluate(policy, make_env, [7, 8, 9], streams=1)
    together = evaluate(policy, make_env, [7, 8, 9], streams=3)
    assert alone.returns.tolist() == together.returns.tolist()
    assert len(set(alone.returns)) > 1
    # The reward counts tics, four a step; the last step may see fewer.
    assert (alone.returns <= 4 * alone.lengths).all()
    assert (alone.returns > 4 * (alone.lengths - 1)).all()
