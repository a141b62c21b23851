"""Replayed training steps are plain steps, and where replaying fails nothing is lost."""

from __future__ import annotations

import gc
import warnings
import weakref
from contextlib import closing
from dataclasses import replace

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
from world_model.training.loop import FREE_TO_CHANGE
from world_model.training.step_graph import PLAIN_STEPS, StepGraph
from world_model.training.trainer import Trainer

CPU = torch.device("cpu")
STEPS = PLAIN_STEPS + 5
SETTINGS = {"steps": STEPS, "batch_size": 2, "learning_rate": 1e-2, "save_every": 4}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


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
    """Where a node that adds up a gradient lived on, it would stay on the stream of the plain steps,
    and a capture on another stream would fail."""
    trainer = (
        make_trainer(bars, tmp_path) if loss == "x" else few_step_trainer(bars, tmp_path, loss)
    )
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
    assert make_trainer(bars, tmp_path).step_graph is None


def test_methods_whose_steps_differ_are_not_replayed(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "step_graph", StepGraph(CPU, Tape()), raising=False)
    trainer = few_step_trainer(bars, tmp_path, "scm")
    assert trainer.step_graph is None


def test_whether_to_replay_may_change_when_a_run_is_continued():
    assert "graphs" in FREE_TO_CHANGE


# -- on a GPU ------------------------------------------------------------------------------------


def gpu_trainer(store, folder, loss, **changes):
    """On the GPU, with more windows than a warp has threads."""
    settings = {"batch_size": 8, "steps": 14, "save_every": 100, "learning_rate": 1e-3, **changes}
    if loss in ("energy", "shortcut", "consistency", "scm"):
        return few_step_trainer(store, folder, loss, "cuda", **settings)
    preset = get_preset("tiny")
    train = replace(preset.train, **{"precision": "float32", **settings})
    flow = replace(preset.flow, loss=loss, own_fraction=0.5, motion_weight=3.0)
    tokenizer = PixelPatchTokenizer(PixelPatchConfig(frame_shape=(SIZE, SIZE, 3), std=60.0))
    return Trainer(store, tokenizer, preset.network, flow, train, folder, "cuda")


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", ["x_ramp", "v", "energy", "shortcut", "consistency"])
def test_a_gpu_replays_the_same_steps(bars, tmp_path, loss, precision):
    plain = gpu_trainer(bars, tmp_path / "a", loss, precision=precision, graphs=False)
    replayed = gpu_trainer(bars, tmp_path / "b", loss, precision=precision)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="a training step")
        expected, found = run(plain), run(replayed)
    assert replayed.step_graph.replayed == 14 - PLAIN_STEPS - 2
    # Sums in another order change the last digits, and each step builds on the one before.
    close = {"rtol": 2e-3, "atol": 1e-5} if precision == "float32" else {"rtol": 2e-2, "atol": 1e-3}
    losses = [torch.tensor([report.loss for report in reports]) for reports in (found, expected)]
    torch.testing.assert_close(*losses, **close)
    start = gpu_trainer(bars, tmp_path / "c", loss, precision=precision)
    moved = apart = 0.0
    for a, b, c in zip(
        *(t.model.parameters() for t in (plain, replayed, start)), strict=True
    ):  # fmt: skip
        moved += (a - c).square().sum().item()
        apart += (a - b).square().sum().item()
    assert apart < (1e-2 if precision == "float32" else 5e-2) * moved


@needs_gpu
@pytest.mark.parametrize("loss", ["x_ramp", "energy"])
def test_a_gpu_draws_the_same_numbers_in_replays(bars, tmp_path, loss):
    """The same step, replayed over and over with other steps in between, on one set of weights."""
    trainer = gpu_trainer(bars, tmp_path, loss)
    for _ in range(PLAIN_STEPS + 2):
        trainer.train_step()
    for step in (3, 11, 3, 0, 11):
        trainer.state.step = step
        inputs = trainer.load(step)
        found = trainer.gradient(trainer._loss_of, *inputs).item()
        generator = torch.Generator("cuda").manual_seed(trainer.step_seed())
        expected = trainer._loss_of(inputs, generator).item()
        assert found == pytest.approx(expected, rel=1e-4)
    assert trainer.step_graph.replayed == 5


@needs_gpu
def test_a_gpu_that_cannot_capture_goes_on_as_ever(bars, tmp_path):
    """A loss that waits for the device: PyTorch must be as good as new afterwards."""
    plain = gpu_trainer(bars, tmp_path / "a", "x_ramp", graphs=False)
    waiting = gpu_trainer(bars, tmp_path / "b", "x_ramp")
    loss_of = waiting._loss_of

    def waits(inputs, generator):
        loss = loss_of(inputs, generator)
        return loss * (1.0 if loss.item() > 0 else 2.0)

    waiting._loss_of = waits
    expected = run(plain)
    with pytest.warns(RuntimeWarning, match="could not be captured"):
        found = run(waiting)
    for a, b in zip(found, expected, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=2e-3)
    torch.nn.functional.dropout(torch.ones(9, device="cuda"))  # draws from the device's generator
    torch.cuda.empty_cache()
    later = gpu_trainer(bars, tmp_path / "c", "x_ramp")
    run(later)
    assert later.step_graph.replayed, "another graph can be captured"


@needs_gpu
def test_a_gpu_leaves_out_what_it_may_not_replay(bars, tmp_path):
    assert gpu_trainer(bars, tmp_path / "a", "scm").step_graph is None
    assert gpu_trainer(bars, tmp_path / "b", "x_ramp", graphs=False).step_graph is None
    assert gpu_trainer(bars, tmp_path / "c", "x_ramp", compile=True).step_graph is None
