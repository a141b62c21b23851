"""What is looked up is what would be computed."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.world_model.tiny import randomise, tiny_world
from world_model import modulation_table
from world_model.action_spec import ActionSpec
from world_model.modulation_table import ModulationTable, fits
from world_model.network import NextFrameDiffusion
from world_model.presets import get_preset
from world_model.rollout import Rollout
from world_model.samplers import time_grid

NAN = math.nan
SPACES = {
    "discrete": (spaces.Discrete(3), [[0.0], [2.0], [NAN]], [[1.0], [0.0], [2.0]]),
    "groups": (
        spaces.MultiDiscrete([3, 2, 4]),
        [[2.0, 1.0, 3.0], [NAN, NAN, NAN], [0.0, 1.0, 0.0]],
        [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [2.0, 0.0, 2.0]],
    ),
    "buttons": (spaces.MultiBinary(2), [[0.0, 1.0], [NAN, NAN], [1.0, 1.0]], [[1.0, 0.0]] * 3),
}


def network_of(spec: ActionSpec, **changes) -> NextFrameDiffusion:
    network = NextFrameDiffusion(replace(get_preset("tiny").network, **changes), spec)
    randomise(network, 0)
    return network


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("changes", [{}, {"step_size": True}])
@pytest.mark.parametrize("steps", [1, 3])
@torch.no_grad()
def test_is_the_modulation_of_every_pass(kind, changes, steps):
    space, last, taken = SPACES[kind]
    spec = ActionSpec.from_space(space)
    network, level, grid = network_of(spec, **changes), 0.1, time_grid(steps)
    table = ModulationTable(network, spec, level, grid)
    last, taken = torch.tensor(last), torch.tensor(taken)
    last_previous_t = torch.tensor([level, 1.0, level])
    found = table.look_up(last, last_previous_t, taken)
    ones = torch.ones(3, 1)
    expected = [network.modulation(ones * level, last[:, None], last_previous_t[:, None])]
    for t, below in pairwise(grid):
        size = ones * (t - below)
        expected.append(network.modulation(ones * t, taken[:, None], ones * level, size))
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_is_not_made_of_numbers_or_of_too_many_actions(monkeypatch):
    for space, fitting in (
        (spaces.Discrete(18), True),
        (spaces.Box(-1, 1, (2,)), False),
        (spaces.Dict(look=spaces.Box(-1, 1, (2,)), jump=spaces.Discrete(2)), False),
        (spaces.MultiDiscrete([8, 3, 3, 3, 2, 2, 2, 2, 11, 11]), False),
    ):
        spec = ActionSpec.from_space(space)
        assert fits(network_of(spec), spec, passes=2) == fitting
    spec = ActionSpec.from_space(spaces.Discrete(3))
    network = network_of(spec)
    rows = ModulationTable(network, spec, 0.1, time_grid(2)).rows
    monkeypatch.setattr(modulation_table, "MOST_BYTES", rows.numel() * 4)
    assert fits(network, spec, passes=2)
    monkeypatch.setattr(modulation_table, "MOST_BYTES", rows.numel() * 4 - 1)
    assert not fits(network, spec, passes=2)


def steps_of(rollout: Rollout, count: int = 3) -> list[np.ndarray]:
    state = rollout.begin(rollout.world.contexts.pick([0, 1]), torch.arange(2))
    frames = []
    for step in range(count):
        state, outcome = rollout.advance(state, torch.tensor([[0.0], [float(step % 3)]]))
        frames.append(outcome.frames.numpy())
    return frames


def test_a_rollout_takes_note_of_weights_that_change():
    world = tiny_world()
    rollout = Rollout(world)
    first = steps_of(rollout)
    with torch.no_grad():
        world.network.blocks[0].modulation.weight.mul_(3)
    changed = steps_of(rollout)
    assert not np.array_equal(changed, first)
    assert np.array_equal(changed, steps_of(Rollout(world)))
    layer = world.network.blocks[0].modulation
    layer.weight = torch.nn.Parameter(layer.weight.detach() / 3)  # another tensor in its place
    assert np.array_equal(steps_of(rollout), steps_of(Rollout(world)))
    world.network.load_state_dict(tiny_world().network.state_dict())
    assert np.array_equal(steps_of(rollout), first)


def test_a_rollout_has_a_table_for_each_number_of_steps():
    rollout = Rollout(tiny_world(), sampling_steps=2)
    steps_of(rollout)
    other = rollout.with_sampling_steps(3)
    assert np.array_equal(steps_of(other), steps_of(Rollout(tiny_world(), sampling_steps=3)))
    assert np.array_equal(steps_of(rollout), steps_of(Rollout(tiny_world(), sampling_steps=2)))


def test_a_table_made_under_autocast_is_that_of_elsewhere():
    rollout = Rollout(tiny_world())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        steps_of(rollout)
    assert np.array_equal(steps_of(rollout), steps_of(Rollout(tiny_world())))


def test_a_rollout_travels_without_its_table():
    rollout = Rollout(tiny_world())
    plain = len(pickle.dumps(rollout))
    frames = steps_of(rollout)
    assert len(pickle.dumps(rollout)) == plain
    assert np.array_equal(steps_of(pickle.loads(pickle.dumps(rollout))), frames)


def test_actions_of_numbers_are_imagined_without_one():
    spec = ActionSpec.from_space(spaces.Box(-1, 1, (1,)))
    world = tiny_world(spec=spec)
    rollout = Rollout(world)
    state = rollout.begin(world.contexts.pick([0]), torch.arange(1))
    _, one = rollout.advance(state.clone(), torch.tensor([[0.5]]))
    _, two = rollout.advance(state, torch.tensor([[-0.5]]))
    assert not torch.equal(one.frames, two.frames)
