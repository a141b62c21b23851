"""Replayed training steps are plain steps, and where replaying fails nothing is lost."""

from __future__ import annotations

import gc
import weakref
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.autograd.graph import get_gradient_edge

from tests.world_model.tiny import randomise
from tests.world_model.training.bars import INFO, SIZE, make_trainer
from tests.world_model.training.test_checkpoint import tensors
from world_model.distillation.methods import make_method
from world_model.errors import ConfigError, DivergenceError
from world_model.network import NextFrameDiffusion
from world_model.presets import get_preset
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.training.cost import WARM_STEPS
from world_model.training.loop import FREE_TO_CHANGE
from world_model.training.step_graph import PLAIN_STEPS, StepGraph
from world_model.training.trainer import Trainer

CPU = torch.device("cpu")
STEPS = PLAIN_STEPS + 5
SETTINGS = {"steps": STEPS, "batch_size": 2, "learning_rate": 1e-2, "save_every": 4}


class Tape:
    """Stands in for CUDA graphs: a replay writes to the tensors that the capturing returned."""

    def __init__(self):
        self.captured = self.replayed = 0

    def __call__(self, computation, generator):
        self.captured += 1
        value, gradients = computation()

        def replay():
            self.replayed += 1
            again, parts = computation()
            value.copy_(again)
            for target, source in zip(gradients, parts, strict=True):
                assert (target is None) == (source is None)
                if target is not None:
                    target.copy_(source)

        return (value, gradients), replay


def replaying(trainer, capture=None):
    """The trainer and the tape that it replays from by now."""
    tape = capture or Tape()
    trainer.step_graph = StepGraph(CPU, tape)
    return trainer, tape


def run(trainer, stop_after=None):
    reports = []
    with closing(trainer.run()) as steps:
        for report in steps:
            reports.append(report)
            if len(reports) == stop_after:
                break
    return reports


def assert_same(one, other):
    a, b = tensors(one.state), tensors(other.state)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.fixture(scope="module")
def plain(bars, tmp_path_factory):
    trainer = make_trainer(bars, tmp_path_factory.mktemp("plain"), **SETTINGS)
    return trainer, run(trainer)


def test_replayed_steps_equal_plain_ones(bars, tmp_path, plain):
    trainer, tape = replaying(make_trainer(bars, tmp_path, **SETTINGS))
    assert run(trainer) == plain[1]
    assert_same(trainer, plain[0])
    assert tape.captured == 1
    assert tape.replayed == STEPS - PLAIN_STEPS - 1
    assert trainer.step_graph.replayed == tape.replayed - 1, "the first one is looked at"


@pytest.mark.parametrize("stop_after", [PLAIN_STEPS + 1, PLAIN_STEPS + 3])
def test_stopped_and_continued_equals_uninterrupted(bars, tmp_path, plain, stop_after):
    first = run(replaying(make_trainer(bars, tmp_path, **SETTINGS))[0], stop_after)
    again = replaying(make_trainer(bars, tmp_path, **SETTINGS))[0]
    assert first + run(again) == plain[1]
    assert_same(again, plain[0])


@pytest.mark.slow
def test_gradients_of_a_method_with_parameters_are_replayed(bars, tmp_path):
    """What a method learns along is part of the step too."""

    def trainer(folder):
        made = few_step_trainer(bars, folder, "energy")
        made.state.method = torch.nn.Linear(3, 1)
        torch.nn.init.ones_(made.state.method.weight)
        loss_of = made._loss_of
        made._loss_of = lambda inputs, generator: (
            loss_of(inputs, generator)
            + made.state.method(torch.rand(5, 3, generator=generator)).square().mean()
        )
        return made

    one, (other, _) = trainer(tmp_path / "a"), replaying(trainer(tmp_path / "b"))
    for _ in range(STEPS):
        assert one.train_step() == other.train_step()
        assert torch.equal(one.state.method.weight.grad, other.state.method.weight.grad)
        assert one.state.method.weight.grad.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["energy", "shortcut", "consistency"])
def test_few_step_methods_are_replayed(bars, tmp_path, loss):
    one = few_step_trainer(bars, tmp_path / "a", loss)
    other, tape = replaying(few_step_trainer(bars, tmp_path / "b", loss))
    assert run(one) == run(other)
    assert_same(one, other)
    assert tape.replayed == STEPS - PLAIN_STEPS - 1


def few_step_trainer(store, folder, loss, device="cpu", **changes):
    """A trainer of a few-step loss, whose windows are in part its own, and junk."""
    preset = get_preset("tiny")
    tokenizer = PixelPatchTokenizer(PixelPatchConfig(frame_shape=(SIZE, SIZE, 3), std=60.0))
    flow = replace(preset.flow, loss=loss, own_fraction=0.5, junk_fraction=0.2, motion_weight=3.0)
    network = replace(preset.network, step_size=loss == "shortcut")
    torch.manual_seed(0)
    teacher = NextFrameDiffusion(preset.network, INFO.action_spec)
    randomise(teacher)
    method = make_method(flow, tokenizer, teacher=FakeTeacher(teacher.to(device)))
    settings = {"precision": "float32", **SETTINGS, **changes}
    train = replace(preset.train, **settings)
    return Trainer(store, tokenizer, network, flow, train, folder, device, method=method)


class FakeTeacher:
    """As much of a world as the methods need."""

    def __init__(self, network):
        self.network, self.flow = network, get_preset("tiny").flow


@pytest.mark.parametrize("loss", ["x", "energy", "shortcut", "consistency"])
def test_no_history_outlives_a_step(bars, tmp_path, loss):
    """Where a node that adds up a gradient lived on, it would stay on the stream of the plain
    steps, and a capture on another stream would fail."""
    make = make_trainer if loss == "x" else partial(few_step_trainer, loss=loss)
    trainer = make(bars, tmp_path)
    loss_of, left = trainer._loss_of, []

    class Mark:
        """Lives as long as the node that it hangs on."""

        def __call__(self, *_):
            pass

    def marking(inputs, generator):
        value = loss_of(inputs, generator)
        for parameter in trainer.model.parameters():
            mark = Mark()
            get_gradient_edge(parameter).node.register_hook(mark)
            left.append(weakref.ref(mark))
        assert any(mark() is not None for mark in left), "it hangs on what is there"
        return value

    trainer._loss_of = marking
    gc.collect()
    gc.disable()
    try:
        trainer.train_step()
    finally:
        gc.enable()
    assert left
    assert [mark for mark in left if mark() is not None] == []


# -- where it fails ------------------------------------------------------------------------------


def fails_to_capture(computation, generator):
    computation()
    raise RuntimeError("operation not permitted when stream is capturing\nmore of this")


def fails_to_replay(computation, generator):
    def replay():
        raise RuntimeError("out of memory")

    return computation(), replay


def draws_the_same_again(computation, generator):
    """As if reseeding the generator did nothing."""
    result, replay = Tape()(computation, generator)

    def stuck():
        generator.manual_seed(5)
        replay()

    return result, stuck


def forgets_a_gradient(computation, generator):
    result, replay = Tape()(computation, generator)

    def halfway():
        replay()
        result[1][-1].zero_()

    return result, halfway


@pytest.mark.parametrize(
    ("capture", "message"),
    [
        (fails_to_capture, r"not be captured .*not permitted when stream is capturing\).*-graphs"),
        (fails_to_replay, r"not be replayed .*\(out of memory\)"),
        (draws_the_same_again, r"came out differently .*%\)"),
        (forgets_a_gradient, r"came out differently .*%\)"),
    ],
)
def test_where_it_fails_steps_are_taken_as_ever(bars, tmp_path, plain, capture, message):
    trainer, _ = replaying(make_trainer(bars, tmp_path, **SETTINGS), capture)
    with pytest.warns(RuntimeWarning, match=message) as caught:
        reports = run(trainer)
    assert len([w for w in caught if w.category is RuntimeWarning]) == 1
    assert reports == plain[1]
    assert_same(trainer, plain[0])
    assert trainer.step_graph.failed


def test_a_graph_that_fails_is_gone_before_its_step_is_taken_again(bars, tmp_path):
    """It may have failed for lack of memory."""
    graphs, there = [], []

    def fails(computation, generator):
        result, replay = fails_to_replay(computation, generator)
        graphs.extend(weakref.ref(part) for part in (result[0], result[1][0]))
        return result, replay

    trainer, _ = replaying(make_trainer(bars, tmp_path, **SETTINGS), fails)
    loss_of = trainer._loss_of

    def noting(inputs, generator):
        there.append([graph() is not None for graph in graphs])
        return loss_of(inputs, generator)

    trainer._loss_of = noting
    for _ in range(PLAIN_STEPS + 1):
        trainer.train_step()
    with pytest.warns(RuntimeWarning, match="not be replayed"):
        trainer.train_step()
    # Plain steps, the captured one, the same plainly, and the one whose replay failed.
    assert there == [[]] * (PLAIN_STEPS + 1) + [[True, True], [False, False]]


def test_windows_of_another_shape_are_taken_plainly(bars, tmp_path):
    trainer, tape = replaying(make_trainer(bars, tmp_path, **SETTINGS))
    for _ in range(PLAIN_STEPS + 3):
        trainer.train_step()
    latents, labels, actions = trainer.load(trainer.state.step)
    replayed = tape.replayed
    loss = trainer.gradient(trainer._loss_of, latents[:1], labels, actions[:1])
    assert tape.replayed == replayed
    assert loss > 0
    trainer.gradient(trainer._loss_of, latents, labels, actions)
    assert tape.replayed == replayed + 1


def test_a_gradient_that_is_not_finite_stops_training(bars, tmp_path):
    trainer, _ = replaying(make_trainer(bars, tmp_path, **SETTINGS))
    for _ in range(PLAIN_STEPS + 3):
        trainer.train_step()
    with torch.no_grad():
        trainer.model.embed.weight[0, 0] = torch.nan
    before = {name: value.clone() for name, value in tensors(trainer.state).items()}
    with pytest.raises(DivergenceError, match="gradient is nan"):
        trainer.train_step()
    after = tensors(trainer.state)
    assert all(torch.equal(a.nan_to_num(), after[n].nan_to_num()) for n, a in before.items())


def test_labels_are_checked_in_every_step(bars, tmp_path):
    """What is replayed could not complain any more."""
    trainer, _ = replaying(make_trainer(bars, tmp_path, **SETTINGS))
    trainer.flow = replace(trainer.flow, object_weights=(2.0,))
    labels = torch.ones(2, trainer.config.length, SIZE, SIZE, dtype=torch.uint8)
    load = trainer.load
    trainer.load = lambda step: (load(step)[0], labels, load(step)[2])
    for _ in range(PLAIN_STEPS + 3):
        trainer.train_step()
    assert trainer.step_graph.replayed == 1
    labels[1, 2, 3, 4] = 2
    with pytest.raises(ConfigError, match="labels up to class 2"):
        trainer.train_step()


def test_when_training_ends_the_memory_is_given_back(bars, tmp_path):
    trainer, tape = replaying(make_trainer(bars, tmp_path, **SETTINGS))
    run(trainer, PLAIN_STEPS + 3)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    trainer.train_step()  # goes on, with a graph of its own
    trainer.train_step()
    trainer.train_step()
    assert tape.captured == 2
    assert trainer.step_graph.replayed == 2


# -- where it does not apply ---------------------------------------------------------------------


def test_a_cpu_captures_nothing(bars, tmp_path):
    assert make_trainer(bars, tmp_path, graphs=True).step_graph is None


def test_methods_whose_steps_differ_are_not_replayed(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "step_graph", StepGraph(CPU, Tape()), raising=False)
    trainer = few_step_trainer(bars, tmp_path, "scm")
    assert trainer.step_graph is None


def test_whether_to_replay_may_change_when_a_run_is_continued():
    assert "graphs" in FREE_TO_CHANGE


def test_the_rate_of_training_is_measured_on_replayed_steps():
    assert PLAIN_STEPS + 2 <= WARM_STEPS
