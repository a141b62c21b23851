import numpy as np
import pytest
from gymnasium import spaces

from agents.policies import BASELINES, available, make_policy
from world_model.errors import ActionError

SPACE = spaces.Discrete(3)


def play(policy, steps, seeds=(0,), restart_at=()):
    observations = np.zeros((len(seeds), 8, 8, 3), np.uint8)
    state = policy.begin(seeds)
    actions = []
    for t in range(steps):
        for stream, when in enumerate(restart_at):
            if when == t:
                policy.restart(state, stream, seeds[stream])
        actions.append(policy.act(observations, state))
    return np.stack(actions, 1)


def test_sweep_goes_n_steps_left_then_n_steps_right():
    assert play(make_policy("sweep-3", SPACE), 8).tolist() == [[1, 1, 1, 2, 2, 2, 1, 1]]


def test_sweep_restarts_with_its_own_stream_only():
    actions = play(make_policy("sweep-2", SPACE), 6, seeds=(0, 1), restart_at=(3,))
    assert actions.tolist() == [[1, 1, 2, 1, 1, 2], [1, 1, 2, 2, 1, 1]]


def test_names_choose_their_actions():
    for name, action in {"noop": 0, "left": 1, "right": 2, "action-2": 2}.items():
        assert set(play(make_policy(name, SPACE), 4)[0]) == {action}
    named = make_policy("left", SPACE, action_names=["stay", "right", "left"])
    assert set(play(named, 3)[0]) == {2}


def test_sweeps_follow_the_names_of_the_actions():
    named = make_policy("sweep-1", SPACE, action_names=["stay", "right", "left"])
    assert play(named, 3)[0].tolist() == [2, 1, 2]


def test_start_of_the_space_is_honoured():
    shifted = spaces.Discrete(3, start=5)
    assert set(play(make_policy("noop", shifted), 3)[0]) == {5}
    assert set(play(make_policy("uniform", shifted), 60)[0]) == {5, 6, 7}


def test_uniform_is_seeded_and_independent_of_its_neighbours():
    policy = make_policy("uniform", SPACE)
    alone = play(policy, 50, seeds=(7,))[0]
    together = play(policy, 50, seeds=(3, 7, 9))
    np.testing.assert_array_equal(together[1], alone)
    assert not np.array_equal(together[0], together[1])
    counts = np.bincount(play(policy, 3000)[0], minlength=3)
    assert (np.abs(counts - 1000) < 120).all()


def test_sticky_repeats_as_often_as_it_says():
    actions = play(make_policy("sticky-80", SPACE), 4000)[0]
    # A fresh draw repeats the last action in one case of three.
    assert np.mean(actions[1:] == actions[:-1]) == pytest.approx(0.8 + 0.2 / 3, abs=0.02)


def test_what_actions_allow():
    assert available(["noop", "left", "sweep-5"], spaces.Discrete(2)) == ["noop", "sweep-5"]
    assert play(make_policy("sweep-1", spaces.Discrete(2)), 4)[0].tolist() == [0, 1, 0, 1]
    assert available(BASELINES, spaces.Box(-1, 1, (2,))) == []


def test_baselines_all_exist():
    assert [make_policy(name, SPACE).name for name in BASELINES] == list(BASELINES)


@pytest.mark.parametrize("name", ["sweep", "sweep-0", "sweep--5", "action-3", "jump", "sticky-101"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ActionError, match="no policy is called"):
        make_policy(name, SPACE)


def test_other_spaces_are_refused():
    with pytest.raises(ActionError, match="Discrete"):
        make_policy("noop", spaces.Box(-1, 1, (2,)))


def test_wrong_number_of_observations():
    policy = make_policy("noop", SPACE)
    with pytest.raises(ValueError, match="3 observations for a state of 2 streams"):
        policy.act(np.zeros((3, 4, 4, 3), np.uint8), policy.begin([0, 1]))
