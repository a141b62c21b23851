"""Replayed steps are plain steps: whatever is cloned, mixed or kept in between."""

import copy
import pickle
import warnings
import weakref

import pytest
import torch

from tests.world_model.test_rollout import actions_for, start
from tests.world_model.tiny import tiny_world
from world_model import step_graphs
from world_model.rollout import Rollout
from world_model.step_graphs import STEPS_BEFORE_CAPTURE, StepGraphs, only_replays

CPU = torch.device("cpu")


def tensors_in(result):
    state, outcome = result
    return [*state.tensors(), *vars(outcome).values()]


class Tape:
    """Stands in for CUDA graphs: a replay writes to the tensors that the capturing returned."""

    def __init__(self):
        self.captured = self.replayed = 0

    def __call__(self, computation):
        self.captured += 1
        result = computation()

        def replay():
            self.replayed += 1
            for target, source in zip(tensors_in(result), tensors_in(computation()), strict=True):
                target.copy_(source.clone())

        return result, replay


@pytest.fixture(params=[1, 2], ids=["one step", "two steps"])
def pair(request):
    """A plain rollout with its state, one that replays with its own, and the tape."""
    world = tiny_world()
    plain, state = start(world, sampling_steps=request.param)
    replaying, other = start(world, sampling_steps=request.param)
    tape = Tape()
    replaying.graphs = StepGraphs(CPU, tape)
    return plain, state, replaying, other, tape


def same(one, other):
    pairs = zip(tensors_in(one), tensors_in(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_replayed_steps_equal_plain_ones(pair):
    plain, state, replaying, other, tape = pair
    for step in range(20):
        actions = actions_for(step, 2)
        expected = plain.advance(state, actions)
        found = replaying.advance(other, actions)
        assert same(expected, found), step
        assert found[0] is other, "as a plain step, it reuses the state"
        state, other = expected[0], found[0]
    assert tape.captured == 1
    assert tape.replayed == 20 - STEPS_BEFORE_CAPTURE + 1


def test_what_a_step_brought_stays_as_it_is(pair):
    *_, replaying, state, tape = pair
    kept = []
    for step in range(16):
        state, outcome = replaying.advance(state, actions_for(step, 2))
        parts = [outcome.frames, outcome.latents, outcome.rewards, state.latent, state.memory]
        kept.append((parts, [part.clone() for part in parts]))
    assert tape.replayed > 5
    for parts, copies in kept:
        assert all(torch.equal(a, b) for a, b in zip(parts, copies, strict=True))


def test_episodes_that_take_turns_do_not_mix(pair):
    plain, state, replaying, other, tape = pair
    branches = [other, other.clone(), other.select(torch.tensor([1, 0]))]
    expected = [state, state.clone(), state.select(torch.tensor([1, 0]))]
    for step in range(15):
        for i in range(3):
            actions = actions_for(step + i, 2)
            one, two = plain.advance(expected[i], actions), replaying.advance(branches[i], actions)
            assert same(one, two)
            expected[i], branches[i] = one[0], two[0]
        if step == 9:  # a reset of one stream
            for states in (expected, branches):
                fresh = states[2].select(torch.tensor([1]))
                states[0].scatter(torch.tensor([0]), fresh)
    assert tape.captured == 1


def test_shapes_that_do_not_come_back_are_not_captured(monkeypatch):
    monkeypatch.setattr(step_graphs, "MAX_GRAPHS", 2)
    world = tiny_world()
    rollout, state = start(world, batch=5)
    tape = Tape()
    rollout.graphs = StepGraphs(CPU, tape)
    for size in range(5, 0, -1):
        rollout.advance(state.select(torch.arange(size)), actions_for(0, size))
    assert tape.captured == 0
    for size in (1, 2, 3, 1):
        for step in range(STEPS_BEFORE_CAPTURE):
            rollout.advance(state.select(torch.arange(size)), actions_for(step, size))
    assert tape.captured == 4, "the third shape takes the place of the first"
    assert len(rollout.graphs._captured) == 2


def test_where_capturing_fails_steps_are_taken_as_ever(pair):
    plain, state, replaying, other, _ = pair

    def failing(computation):
        computation()
        raise RuntimeError("operation not permitted when stream is capturing\nmore of this")

    replaying.graphs = StepGraphs(CPU, failing)
    for step in range(STEPS_BEFORE_CAPTURE - 1):
        plain.advance(state, actions_for(step, 2))
        replaying.advance(other, actions_for(step, 2))
    expected = plain.advance(state, actions_for(0, 2))
    with pytest.warns(RuntimeWarning, match=r"kernel by kernel.*not permitted when stream is cap"):
        found = replaying.advance(other, actions_for(0, 2))
    assert same(expected, found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(STEPS_BEFORE_CAPTURE + 1):
            actions = actions_for(step, 2)
            assert same(plain.advance(state, actions), replaying.advance(other, actions))


def test_copies_record_for_themselves(pair):
    plain, state, replaying, other, tape = pair
    for step in range(STEPS_BEFORE_CAPTURE):
        plain.advance(state, actions_for(step, 2))
        replaying.advance(other, actions_for(step, 2))
    assert tape.captured == 1
    for copied in (copy.deepcopy(replaying), pickle.loads(pickle.dumps(replaying))):
        assert isinstance(copied.graphs, StepGraphs)
        assert not copied.graphs._captured
        expected = plain.advance(state.clone(), actions_for(0, 2))
        assert same(expected, copied.advance(other.clone(), actions_for(0, 2)))


def test_under_autocast_steps_are_plain(pair):
    plain, state, replaying, other, tape = pair
    for step in range(STEPS_BEFORE_CAPTURE + 1):
        replaying.advance(other, actions_for(step, 2))
        plain.advance(state, actions_for(step, 2))
    replayed = tape.replayed
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain.advance(state, actions_for(0, 2))
        assert same(expected, replaying.advance(other, actions_for(0, 2)))
    assert tape.replayed == replayed


def test_a_background_thread_captures_nothing(pair):
    *_, replaying, state, tape = pair
    with only_replays():
        for step in range(STEPS_BEFORE_CAPTURE + 2):
            replaying.advance(state, actions_for(step, 2))
    assert tape.captured == 0
    replaying.advance(state, actions_for(0, 2))
    assert tape.captured == 1
    with only_replays():
        replaying.advance(state, actions_for(0, 2))
    assert tape.replayed == 2


def test_a_world_that_was_moved_is_captured_anew(pair):
    *_, replaying, state, tape = pair
    for moved in range(2):
        for step in range(STEPS_BEFORE_CAPTURE):
            replaying.advance(state, actions_for(step, 2))
        assert tape.captured == moved + 1
        for parameter in replaying.network.parameters():
            parameter.data = parameter.data.clone()


def test_a_rollout_is_let_go_at_once(pair):
    *_, replaying, state, _ = pair
    for step in range(STEPS_BEFORE_CAPTURE):
        replaying.advance(state, actions_for(step, 2))
    graphs = weakref.ref(replaying.graphs)
    replaying.graphs = None
    assert graphs() is None
    rollout = start(tiny_world())[0]
    rollout.graphs = StepGraphs(CPU, Tape())
    gone = weakref.ref(rollout)
    del rollout
    assert gone() is None, "no cycle keeps it until the collector comes"


def test_a_cpu_captures_nothing():
    assert Rollout(tiny_world()).graphs is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_cuda_graph_takes_the_same_steps(steps, precision):
    world = tiny_world()
    options = {"sampling_steps": steps, "precision": precision, "device": "cuda"}
    plain, state = start(world, **options, cuda_graphs=False)
    replaying, other = start(world, **options)
    for step in range(STEPS_BEFORE_CAPTURE + 6):
        expected = plain.advance(state, actions_for(step, 2))
        found = replaying.advance(other, actions_for(step, 2))
        assert same(expected, found), step
    assert replaying.graphs is not None
    assert len(replaying.graphs._captured) == 1
