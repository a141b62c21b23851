"""``ahead`` and ``branch`` change nothing: a property of random sequences of everything."""

from __future__ import annotations

import copy
import gc
import os
import signal
import time

import numpy as np
import pytest
import torch

from tests.world_model.tiny import tiny_world
from world_model.errors import ActionError
from world_model.rollout import Rollout
from world_model.speculation import AheadRollout, BranchRollout
from world_model.speculation.branch import row_of
from world_model.speculation.reference import PaddedRollout

SETTINGS = {"sampling_steps": 2, "reward_mode": "sample"}


MODES = {
    "ahead": (AheadRollout, 1),
    "three ahead": (AheadRollout, 3),
    "branch": (BranchRollout, 3),
    "two branches": (BranchRollout, 2),
}


def play(rollout, world, *, seed, steps, repeat, think):
    """Every number of an episode of steps, resets, snapshots, new seeds and hints."""
    rng = np.random.default_rng(seed)
    state, saved, action, seen = None, None, 0, []
    for step in range(steps):
        event = rng.random()
        if state is None or event < 0.05:
            context = world.contexts.pick([int(rng.integers(5))])
            state = rollout.begin(context, torch.tensor([int(rng.integers(1000))]))
        elif event < 0.10:
            saved = state.clone()
        elif event < 0.15 and saved is not None:
            state = saved.clone()
        elif event < 0.20:
            state.seeds.fill_(step)  # another future of this moment
        elif event < 0.30 and hasattr(rollout, "hint"):
            rollout.hint(state, torch.from_numpy(rng.integers(3, size=(2, 1)).astype(np.float32)))
        elif event < 0.30:
            rng.integers(3, size=(2, 1))
        if think:
            time.sleep(float(rng.choice([0.0, 0.002, 0.02])))
        else:
            rng.choice([0.0, 0.002, 0.02])
        if rng.random() > repeat:
            action = int(rng.integers(3))
        state, outcome = rollout.advance(state, torch.tensor([[float(action)]]))
        seen.append(
            [
                outcome.frames.clone(),
                outcome.rewards,
                outcome.terminated,
                outcome.termination_probability,
                outcome.uncertainty,
            ]
        )
    return seen


def assert_same(ours, theirs):
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b), f"step {step}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("repeat", [0.0, 0.8])
def test_any_sequence_is_as_without_speculation(mode, repeat):
    world = tiny_world()
    kind, depth = MODES[mode]
    for seed in range(2):
        settings = {"seed": seed, "steps": 40, "repeat": repeat}
        ours = kind(Rollout(world, **SETTINGS), depth)
        seen = play(ours, world, think=True, **settings)
        ours.close()
        expected = Rollout(world, **SETTINGS)
        if kind is BranchRollout:
            expected = PaddedRollout(expected, depth)
        assert_same(seen, play(expected, world, think=False, **settings))
        assert ours.counts.steps == 40
        assert 0 < ours.counts.accepted < 40
        assert ours.counts.discarded > 0 or mode == "branch"


def test_branches_of_all_actions_never_miss_but_where_the_state_was_changed():
    world = tiny_world()
    rollout = BranchRollout(Rollout(world), 3)
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    for step in range(12):
        state, _ = rollout.advance(state, torch.tensor([[float(step * step % 3)]]))
    assert rollout.counts.accepted == 12
    assert rollout.counts.wasted_passes == 0
    assert rollout.counts.discarded == 24
    rollout.close()


def test_an_action_has_a_row_of_its_own():
    assert [row_of(torch.tensor([[float(a)]]), 3) for a in range(5)] == [0, 1, 2, 0, 1]
    moves = [torch.tensor([[0.1, float(a)]]) for a in range(40)]
    rows = [row_of(move, 4) for move in moves]
    assert set(rows) == {0, 1, 2, 3}
    assert rows == [row_of(move.clone(), 4) for move in moves]


def test_a_branch_of_many_actions_drafts_the_likely_ones():
    world = tiny_world()
    rollout = BranchRollout(Rollout(world), 2)
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    rollout.hint(state, torch.tensor([[2.0], [0.0], [1.0]]))
    # Actions 2 and 0 share a row, and 2 was named first.
    assert rollout._drafted.flatten().tolist() == [2.0, 1.0]
    rollout.close()


def test_counts_of_a_known_sequence():
    world = tiny_world()
    rollout = AheadRollout(Rollout(world, sampling_steps=2))
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    for action in (1, 1, 1, 2, 2):
        while rollout._chain is not None and not rollout._chain._futures[0].done():
            time.sleep(0.001)  # whatever was expected is ready by now
        state, _ = rollout.advance(state, torch.tensor([[float(action)]]))
    rollout.close()
    counts = rollout.counts
    # Before the first action action 0 is expected, and action 1 before the first 2.
    assert (counts.steps, counts.repeats, counts.accepted) == (5, 3, 3)
    assert counts.repeat_rate == 0.6
    assert 2 <= counts.discarded <= 3  # and, if it had begun, the one after the last
    assert counts.wasted_passes == 2 * counts.discarded
    assert counts.to_dict()["acceptance_rate"] == 0.6


def test_a_batch_branched_off_is_imagined_as_ever():
    world = tiny_world()
    for rollout in (AheadRollout(Rollout(world)), BranchRollout(Rollout(world), 3)):
        state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
        wide = state.select(torch.zeros(2, dtype=torch.int64))
        plain = Rollout(world).advance(wide.clone(), torch.tensor([[1.0], [2.0]]))[1]
        ours = rollout.advance(wide, torch.tensor([[1.0], [2.0]]))[1]
        assert torch.equal(plain.frames, ours.frames)
        rollout.close()


def test_an_error_in_the_background_reaches_whoever_asks():
    world = tiny_world()
    plain = Rollout(world)
    rollout = AheadRollout(plain)
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    advance = plain.advance
    state, _ = rollout.advance(state, torch.tensor([[1.0]]))
    rollout._drop()

    def broken(state, actions):
        raise RuntimeError("out of memory")

    plain.advance = broken
    rollout._prepare(state)
    with pytest.raises(RuntimeError, match="out of memory"):
        rollout.advance(state, torch.tensor([[1.0]]))
    plain.advance = advance
    expected = Rollout(world).advance(state.clone(), torch.tensor([[1.0]]))[1]
    assert torch.equal(rollout.advance(state, torch.tensor([[1.0]]))[1].frames, expected.frames)
    rollout.close()


def test_inference_mode_is_not_speculated_in():
    world = tiny_world()
    rollout = AheadRollout(Rollout(world))
    with torch.inference_mode():
        state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
        for _ in range(3):
            state, _ = rollout.advance(state, torch.tensor([[1.0]]))
    assert rollout.counts.accepted == 0
    rollout.close()


@pytest.mark.parametrize("thinking", [0.0, 0.03])
def test_adaptive_speculation_works_only_while_it_pays(thinking, monkeypatch):
    monkeypatch.setattr("world_model.speculation.ahead._cores", lambda: 2)
    world = tiny_world()
    plain = Rollout(world)
    advance = plain.advance

    def slow(state, actions):
        time.sleep(0.01)
        return advance(state, actions)

    plain.advance = slow
    rollout = AheadRollout(plain, 2, adaptive=True)
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    for _ in range(30):
        time.sleep(thinking)
        state, _ = rollout.advance(state, torch.tensor([[1.0]]))
    rollout.close()
    assert (rollout.counts.accepted > 5) == (thinking > 0)


def test_on_one_core_nothing_is_gained_by_working_ahead(monkeypatch):
    monkeypatch.setattr("world_model.speculation.ahead._cores", lambda: 1)
    world = tiny_world()
    rollout = AheadRollout(Rollout(world), adaptive=True)
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    for _ in range(25):
        time.sleep(0.005)
        state, _ = rollout.advance(state, torch.tensor([[1.0]]))
    assert rollout.counts.accepted == 0


@pytest.mark.parametrize("kind", [AheadRollout, BranchRollout])
def test_the_callers_memory_may_be_used_again(kind):
    world = tiny_world()
    rollout, plain = kind(Rollout(world)), Rollout(world)
    expected = PaddedRollout(plain, 3) if kind is BranchRollout else plain
    context, seed = world.contexts.pick([0]), torch.tensor([0])
    one, other = rollout.begin(context, seed), expected.begin(context, seed)
    action, hint = torch.zeros(1, 1), torch.ones(1, 1)
    for value in (0, 2, 2, 1, 0):
        hint.fill_(value)
        rollout.hint(one, hint)
        hint.fill_(1)
        action.fill_(value)
        one, ours = rollout.advance(one, action)
        other, theirs = expected.advance(other, torch.tensor([[float(value)]]))
        assert torch.equal(ours.frames, theirs.frames)
    rollout.close()


def test_a_tensor_in_place_of_another_is_noticed():
    world = tiny_world()
    rollout, plain = AheadRollout(Rollout(world)), Rollout(world)
    context = world.contexts.pick([0])
    one, other = (r.begin(context, torch.tensor([0])) for r in (rollout, plain))
    for step in range(12):
        one.seeds, other.seeds = one.seeds + 1, other.seeds + 1
        gc.collect()
        one, ours = rollout.advance(one, torch.zeros(1, 1))
        other, theirs = plain.advance(other, torch.zeros(1, 1))
        assert torch.equal(ours.frames, theirs.frames), f"step {step}"
    assert rollout.counts.accepted == 0
    rollout.close()


def test_a_state_that_cannot_be_copied_does_not_hang_anybody(monkeypatch):
    world = tiny_world()
    rollout = AheadRollout(Rollout(world))
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    rollout._drop()

    def fail():
        raise MemoryError("no room")

    state.clone = fail
    rollout._prepare(state)
    with pytest.raises(MemoryError, match="no room"):
        rollout.advance(state, torch.zeros(1, 1))
    del state.clone
    rollout.advance(state, torch.zeros(1, 1))
    rollout.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_wait_for_the_parents_thread():
    world = tiny_world()
    rollout = AheadRollout(Rollout(world))
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    state, _ = rollout.advance(state, torch.ones(1, 1))
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        rollout.advance(state, torch.ones(1, 1))
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    rollout.close()


def test_under_autocast_nothing_is_prepared():
    world = tiny_world()
    rollout = AheadRollout(Rollout(world))
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    expected = Rollout(world).begin(world.contexts.pick([0]), torch.tensor([0]))
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(3):
            state, ours = rollout.advance(state, torch.zeros(1, 1))
            expected, theirs = Rollout(world).advance(expected, torch.zeros(1, 1))
            assert torch.equal(ours.frames, theirs.frames)
    assert rollout.counts.accepted == 0
    rollout.close()


def test_a_copy_goes_on_by_itself():
    world = tiny_world()
    rollout = AheadRollout(Rollout(world))
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    state, _ = rollout.advance(state, torch.ones(1, 1))
    other = copy.deepcopy(rollout)
    again = state.clone()
    ours = rollout.advance(state, torch.ones(1, 1))[1]
    theirs = other.advance(again, torch.ones(1, 1))[1]
    assert torch.equal(ours.frames, theirs.frames)
    for each in (rollout, other):
        each.close()


def test_one_pause_does_not_make_it_pay(monkeypatch):
    monkeypatch.setattr("world_model.speculation.ahead._cores", lambda: 2)
    world = tiny_world()
    rollout = AheadRollout(Rollout(world), adaptive=True)
    state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
    for step in range(40):
        if step == 25:
            time.sleep(0.3)
        state, _ = rollout.advance(state, torch.tensor([[float(step % 2)]]))
    assert rollout.counts.accepted == rollout.counts.discarded == 0
    rollout.close()


@pytest.mark.parametrize("actions", [torch.zeros(1), torch.zeros(2, 1)])
def test_actions_of_another_shape(actions):
    world = tiny_world()
    for kind in (AheadRollout, BranchRollout):
        rollout = kind(Rollout(world))
        state = rollout.begin(world.contexts.pick([0]), torch.tensor([0]))
        with pytest.raises(ActionError, match="expected"):
            rollout.advance(state, actions)
        rollout.close()
