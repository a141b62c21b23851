"""Training steps as CUDA graphs: what is asked of PyTorch, and, on a GPU, what comes of it."""

from __future__ import annotations

import inspect
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch

from tests.world_model.training.bars import SIZE
from tests.world_model.training.test_step_graph import CPU, few_step_trainer, run
from world_model.presets import get_preset
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.training.step_graph import PLAIN_STEPS, StepGraph
from world_model.training.trainer import Trainer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# -- what is asked of PyTorch ----------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """A stand-in for PyTorch's CUDA, and what is asked of it, in order."""
    noted = []

    class Stream:
        def __init__(self, name="side"):
            self.name = name

        def wait_stream(self, other):
            noted.append(f"{self.name} waits for {other.name}")

    class Graph:
        def register_generator_state(self, generator):
            assert isinstance(generator, torch.Generator)
            noted.append("generator registered")

        def replay(self):
            noted.append("replayed")

    usual = Stream("usual")
    signature = inspect.signature(torch.cuda.graph)

    @contextmanager
    def capturing(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        assert given["pool"] == "pool"
        assert given["stream"].name == "side"
        assert given["capture_error_mode"] == "thread_local"
        noted.append("capture begins")
        yield
        noted.append("capture ends")

    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: usual)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "set_stream", lambda s: noted.append(f"back to {s.name}"))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        torch._C, "_cuda_endAllocateToPool", lambda *a: noted.append(f"ended {a}"), raising=False
    )
    return noted


def test_a_capture_is_prepared_as_pytorch_demands(calls):
    generator = torch.Generator()
    result, replay = StepGraph(CPU)._capture(lambda: calls.append("step"), generator)
    assert result is None
    replay()
    assert calls == [
        "side waits for usual", "step", "step", "step", "usual waits for side",
        "generator registered", "capture begins", "step", "capture ends", "back to usual",
        "replayed",
    ]  # fmt: skip


def test_a_capture_that_fails_is_tidied_up(calls):
    def fail():
        if "capture begins" in calls:
            raise RuntimeError("not permitted")

    for _ in range(2):  # and frees the way for the next one
        with pytest.raises(RuntimeError, match="not permitted"):
            StepGraph(CPU)._capture(fail, torch.Generator())
        assert calls[-2:] == ["back to usual", "ended (0, 'pool')"]
        calls.clear()


# -- on a GPU ------------------------------------------------------------------------------------


def gpu_trainer(store, folder, loss, **changes):
    """On the GPU, with more windows than a warp has threads."""
    settings = {
        "batch_size": 8, "steps": 14, "save_every": 100, "learning_rate": 1e-3, "graphs": True,
        **changes,
    }  # fmt: skip
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
