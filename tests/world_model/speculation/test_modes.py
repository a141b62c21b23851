"""Speculation by name."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces

from tests.toy import ToyRollout, ToyWorld
from tests.world_model.tiny import tiny_world
from world_model.action_spec import ActionSpec
from world_model.errors import ConfigError
from world_model.rollout import Rollout
from world_model.speculation import AheadRollout, BranchRollout, speculative


def test_each_mode_by_its_name():
    rollout = Rollout(tiny_world())
    assert speculative(rollout, "off") is rollout
    auto = speculative(rollout)
    assert isinstance(auto, AheadRollout)
    assert auto.adaptive
    ahead = speculative(rollout, "ahead", 2)
    assert (ahead.depth, ahead.adaptive) == (2, False)
    branch = speculative(rollout, "branch")
    assert isinstance(branch, BranchRollout)
    assert branch.width == 3  # all actions of a small space
    with pytest.raises(ConfigError, match="2 frames before each frame"):
        speculative(rollout, "joint")


def test_a_batch_does_not_speculate():
    rollout = Rollout(tiny_world())
    assert speculative(rollout, "auto", streams=8) is rollout
    for mode in ("ahead", "branch", "joint"):
        with pytest.raises(ConfigError, match="for one stream, not 8"):
            speculative(rollout, mode, streams=8)


def test_an_analytic_world_has_nothing_to_wait_for():
    toy = ToyRollout(ToyWorld())
    assert speculative(toy) is toy
    with pytest.raises(ConfigError, match="ToyRollout"):
        speculative(toy, "joint")


@pytest.mark.parametrize("depth", [0, -1, 1.5, True])
def test_a_depth_is_a_whole_number(depth):
    with pytest.raises(ValueError, match="speculation_depth"):
        speculative(Rollout(tiny_world()), "ahead", depth)


def test_an_unknown_mode():
    with pytest.raises(ConfigError, match=r"'sideways'.*auto, off, ahead"):
        speculative(Rollout(tiny_world()), "sideways")


def test_a_space_without_a_number_of_actions_branches_over_a_few():
    world = tiny_world()
    for space in (spaces.MultiBinary([2, 3]), spaces.Box(-1.0, 1.0, (2,))):
        world.action_spec = ActionSpec.from_space(space)
        assert speculative(Rollout(world), "branch").width == 4


def test_a_large_space_branches_over_a_few_actions():
    world = tiny_world()
    world.action_spec = ActionSpec.from_space(spaces.Discrete(50))
    assert speculative(Rollout(world), "branch").width == 4
    assert torch.is_tensor(speculative(Rollout(world), "branch")._draft())
