"""Compiled passes are the plain ones up to the last digit, and plain ones where that fails."""

import copy
import pickle
import shutil
import warnings
from functools import partial

import pytest
import torch

from tests.world_model.autoencoder.tiny import world_with_autoencoder
from tests.world_model.test_rollout import actions_for, play, start
from tests.world_model.tiny import randomise, tiny_world, world_without_previous_frames
from world_model.errors import ActionError
from world_model.noise import Purpose, normal, normals, stream_keys
from world_model.rollout import Rollout
from world_model.speculation import speculative
from world_model.types import Context


@pytest.fixture
def no_compiler(monkeypatch):
    """torch.compile makes something that fails when it is first called, as without a compiler."""
    calls = []

    def compile_(function, **options):
        def fail(*inputs, **named):
            calls.append(options)
            raise RuntimeError("No working C++ compiler found\nmore about it")

        return fail

    monkeypatch.setattr(torch, "compile", compile_)
    return calls


def differences(one, other):
    return [
        (a.frames.int() - b.frames.int()).abs().max().item()
        for a, b in zip(one, other, strict=True)
    ]


@pytest.fixture
def traced(monkeypatch):
    """Passes are traced and then run kernel by kernel: all of compiling but the C++ compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.mark.slow
def test_traced_steps_equal_plain_ones(traced):
    """For two worlds that share their compiled code, and for weights that change afterwards."""
    for seed in (0, 1):
        world = tiny_world(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            plain, state = start(world, sampling_steps=2)
            quick, other = start(world, sampling_steps=2, compile=True)
            state, expected = play(plain, state, 9)  # past the window: the ring wraps
            other, found = play(quick, other, 9)
        assert not quick.compiled.failed
        assert max(differences(expected, found)) <= 1
        assert any(o.frames.float().std() > 1 for o in expected), "nothing to see"
        ours, theirs = state.cache.tensors(), other.cache.tensors()
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    # Weights that learned on in between are heeded.
    before = quick.advance(other.clone(), actions_for(0, 2))[1].latents
    randomise(world.network, seed=5)
    after = quick.advance(other.clone(), actions_for(0, 2))[1].latents
    expected = plain.advance(other.clone(), actions_for(0, 2))[1].latents
    assert not torch.equal(before, after)
    assert (after - expected).abs().max() < 0.05


@pytest.mark.slow
def test_joint_speculation_takes_traced_passes(traced):
    world = world_without_previous_frames()
    results = []
    for compiled in (False, True):
        rollout, _ = start(world, batch=1, sampling_steps=1, compile=compiled)
        joint = speculative(rollout, "joint", 2, streams=1)
        state = joint.begin(world.contexts.pick([0]), torch.tensor([3]))
        outcomes = []
        for _ in range(6):
            state, outcome = joint.advance(state, torch.ones(1, 1))
            outcomes.append(outcome)
        assert rollout.compiled is None or not rollout.compiled.failed
        results.append(outcomes)
    assert max(differences(*results)) <= 1


@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler"
)
@pytest.mark.slow
def test_compiled_steps_equal_plain_ones():
    world = tiny_world()
    assert world.network.config.transport, "whose indexing the compiler once failed on"
    plain, state = start(world, sampling_steps=1)
    quick, other = start(world, sampling_steps=1, compile=True)
    _, expected = play(plain, state, 6)
    _, found = play(quick, other, 6)
    assert not quick.compiled.failed
    assert max(differences(expected, found)) <= 1


@pytest.mark.slow
def test_a_ring_that_fills_up_is_compiled_for_once_more(monkeypatch):
    """While it has empty slots, and when it has none; not for every number of them."""
    graphs = []

    def counting(graph, inputs, **_):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    rollout = Rollout(tiny_world(), sampling_steps=1, compile=True)
    context = Context(
        torch.zeros(1, 1, 16, 16, 3, dtype=torch.uint8), torch.full((1, 1, 1), torch.nan)
    )
    state = rollout.begin(context, torch.tensor([0]))
    play(rollout, state, 6)
    assert not rollout.compiled.failed
    assert len(graphs) == 2 + 2, "two for the pass, one for its noise, one for what a frame brings"


@pytest.mark.slow
def test_an_autoencoders_decoder_is_compiled_too(traced):
    world = world_with_autoencoder()
    plain, state = start(world)
    quick, other = start(world, compile=True)
    _, expected = play(plain, state, 4)
    _, found = play(quick, other, 4)
    assert not quick.compiled.failed
    assert max(differences(expected, found)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sample", "threshold", "never"])
def test_outcomes_are_compiled_in_every_mode(traced, mode):
    """Draws are exact: they are made of integers."""
    options = {"termination_mode": mode, "reward_mode": "sample", "pessimism": 2.0}
    plain, state = start(tiny_world(), **options)
    quick, other = start(tiny_world(), compile=True, **options)
    _, expected = play(plain, state, 6)
    _, found = play(quick, other, 6)
    assert not quick.compiled.failed
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a.rewards, b.rewards, atol=1e-4, rtol=1e-4)
        assert torch.equal(a.terminated, b.terminated)


def test_another_number_of_steps_shares_what_was_compiled():
    rollout, _ = start(tiny_world(), compile=True)
    other = rollout.with_sampling_steps(3)
    assert other.compiled is rollout.compiled


def test_without_a_compiler_steps_are_plain_and_it_says_so_once(no_compiler):
    world = tiny_world()
    plain, state = start(world)
    quick, other = start(world, compile=True)
    with pytest.warns(RuntimeWarning, match="could not be compiled.*No working C") as caught:
        other, found = play(quick, other, 5)
    assert len(caught) == len(no_compiler) == 1
    assert no_compiler[0]["fullgraph"], "a pass that fails half-way would leave traces"
    _, expected = play(plain, state, 5)
    assert max(differences(expected, found)) == 0


def test_wrong_input_is_not_taken_for_a_failed_compilation(no_compiler):
    rollout, state = start(tiny_world(), compile=True)
    with pytest.raises(ActionError):
        rollout.advance(state, torch.full((2, 1), float("nan")))
    with pytest.raises(ValueError, match="frames at once do not fit"):
        rollout.stream(*[torch.zeros(1, 99)] * 3, state.cache)
    assert not rollout.compiled.failed


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_compile_for_themselves(copied):
    rollout, _ = start(tiny_world(), compile=True)
    other = copied(rollout)
    assert other.compiled.network is other.network
    assert other.compiled.network is not rollout.network
    assert copied(start(tiny_world())[0]).compiled is None


def test_noise_drawn_together_is_noise_drawn_one_by_one():
    seeds, index = torch.arange(3), torch.tensor([4, 9, 2])
    wanted = [
        (index, Purpose.SAMPLE, 0),
        (index, Purpose.SAMPLE, 1),
        (index + 1, Purpose.CONTEXT, 0),
    ]
    for found, key in zip(normals(seeds, wanted, (5, 3)), wanted, strict=True):
        assert torch.equal(found, normal(stream_keys(seeds, *key), (5, 3)))
