from dataclasses import replace
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.determinism import Played, difference, draw_actions, measure_determinism
from benchmarks.real_world import RealWorld
from tests.benchmarks import sliding, sliding_game
from tests.benchmarks.test_imagined_env import Imagined, Silent, batch, single
from tests.world_model.tiny import tiny_world

SAME = {"equal_share": 1.0, "equal_frames": 1.0, "first_different": None, "largest_difference": 0}


class Crowded(sliding.SlidingRollout):
    """Every other stream makes frames a grey level brighter."""

    def advance(self, state, actions):
        state, outcome = super().advance(state, actions)
        frames = outcome.frames + (len(actions) - 1)
        return state, replace(outcome, frames=frames)


class CrowdedWorld(sliding.SlidingWorld):
    def make_rollout(self, **settings):
        return Crowded(self)


def played(steps=5):
    return Played(np.full((steps + 1, 2, 2, 3), 100, np.uint8), np.zeros((steps, 4)))


def test_nothing_different():
    unknown = played()
    unknown.told[:, 3] = np.nan
    assert difference(unknown, unknown) == SAME


def test_a_pixel_is_enough():
    other = played()
    other.frames[3, 1, 0, 2] = 93
    found = difference(played(), other)
    assert (found["equal_share"], found["equal_frames"]) == (0.8, 0.8)
    assert (found["first_different"], found["largest_difference"]) == (3, 7)


@pytest.mark.parametrize("column", range(4))
def test_a_reward_or_an_end_is_enough(column):
    other = played()
    other.told[1, column] = np.nan if column == 3 else 1e-12
    found = difference(played(), other)
    assert (found["equal_share"], found["equal_frames"]) == (0.8, 1.0)
    assert (found["first_different"], found["largest_difference"]) == (2, 0)


def test_another_start():
    other = played()
    other.frames[0] = 255
    found = difference(played(), other)
    assert found["equal_share"] == 1.0
    assert (found["first_different"], found["largest_difference"]) == (0, 155)


def test_actions_follow_from_the_seed_alone():
    space = gym.spaces.Discrete(3)
    first = draw_actions(space, 64, seed=1)
    space.sample()
    assert first == draw_actions(space, 64, seed=1) != draw_actions(space, 64, seed=2)
    held = sum(a == b for a, b in pairwise(first))
    assert 45 < held < 63


def test_a_world_of_ours_does_the_same_again():
    found = measure_determinism(tiny_world(), seed=3, steps=12, sampling_steps=2)
    assert found["steps"] == 12
    assert found["again"] == SAME
    beside = found["beside_others"]
    assert beside["streams"] == 4
    assert beside["largest_difference"] <= 1  # last digits


def test_episodes_that_end_go_on_the_same():
    """Every other step ends one, in all streams."""
    world = sliding.SlidingWorld(hazard=0.5)
    found = measure_determinism(world, seed=0, termination_mode="sample")
    assert found["again"] == SAME
    assert found["beside_others"] == {"streams": 4, **SAME}


def test_dice_that_no_seed_throws_are_caught():
    found = measure_determinism(sliding.SlidingWorld("unseeded"), seed=0)
    for part in (found["again"], found["beside_others"]):
        assert 20 < part["first_different"] < 64
        assert 20 / 64 <= part["equal_share"] < 1
        assert part["largest_difference"] > 100


def test_streams_that_see_each_other_are_caught():
    found = measure_determinism(CrowdedWorld(), seed=0)
    assert found["again"] == SAME
    assert found["beside_others"] == {
        "streams": 4,
        "equal_share": 0.0,
        "equal_frames": 0.0,
        "first_different": 1,
        "largest_difference": 3,
    }


class Unseeded(Imagined):
    """Begins anywhere, whatever the seed."""

    def first_place(self, seed):
        return int(np.random.default_rng().integers(sliding.PLACES))

    def step(self, action):
        return super().step(int(np.random.default_rng().integers(3)))


@pytest.mark.parametrize(
    "make", [single, lambda **options: batch(game=Silent, **options)], ids=["single", "batch"]
)
def test_somebody_elses_is_asked_what_it_can_answer(make):
    world = make(endless=True)
    found = measure_determinism(world, seed=5)
    world.close()
    assert found["again"] == SAME
    assert "worlds of this project only" in found["beside_others"]["why_not"]


def test_a_batch_that_was_made_anew_is_closed():
    world = batch(game=Silent, endless=True)
    env = world.fresh_env()
    assert env.env is not world.player.env
    env.close()
    assert env.env.closed
    world.endless_env().close()
    assert not world.player.env.closed  # it belongs to the world
    world.close()


def test_somebody_elses_dice_are_caught():
    world = batch(game=Unseeded, endless=True)
    found = measure_determinism(world, seed=5)["again"]
    world.close()
    assert found["first_different"] is not None
    assert found["equal_share"] < 0.9


def test_what_cannot_be_made_twice_says_so():
    world = single(endless=True)

    def fails():
        raise RuntimeError("the port is taken")

    world._make_env = fails
    assert measure_determinism(world, 0)["again"] == {
        "why_not": "its environment could not be made again: the port is taken"
    }


def test_what_ends_by_itself_is_not_asked():
    world = RealWorld(sliding_game.world(), games=1)
    found = measure_determinism(world, 0)
    world.close()
    for part in (found["again"], found["beside_others"]):
        assert "ends its episodes by itself" in part["why_not"]
