"""Losses that are replayed as CUDA graphs never wait for the device, nor bring it data of the host.

On the ``meta`` device, which has shapes and no numbers, PyTorch takes the ways that it takes on a
GPU; what would wait or copy is seen before it happens.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.world_model.training.bars import SIZE, make_trainer
from tests.world_model.training.test_step_graph import few_step_trainer
from world_model.training.step_graph import gradient

META = torch.device("meta")
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")


class WouldWait(AssertionError):
    """Something that a capture does not survive."""


class NoTensors(TorchFunctionMode):
    """Raises where tensors are made of Python's numbers or numpy's arrays."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.tensor, torch.as_tensor, torch.from_numpy):
            raise WouldWait(f"{func.__name__} takes numbers from the host's memory")
        return func(*args, **(kwargs or {}))


class NoWaiting(TorchDispatchMode):
    """Raises where a GPU would be waited for, or given data from the host's memory."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        leaves = tree_leaves((args, kwargs or {}))
        given = [part for part in leaves if isinstance(part, torch.Tensor)]
        by_mask = "index" in name and any(part.dtype == torch.bool for part in given[1:])
        if name.startswith(WAITING) or by_mask:
            raise WouldWait(f"{name} waits for the device")
        result = func(*args, **(kwargs or {}))
        made = [part for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        on_host = [part for part in [*given, *made] if part.device.type == "cpu"]
        # A number that stays on the host is an argument of the kernel.
        if any(part.ndim for part in on_host):
            raise WouldWait(f"{name} takes or makes a tensor in the host's memory")
        if on_host and name in ("_to_copy", "copy_"):
            raise WouldWait(f"{name} copies a number between host and device")
        return result


class Generator(torch.Generator):
    """Says that it draws on the device; there, nothing is drawn."""

    @property
    def device(self):
        return META


def take_step(trainer, labels=None):
    """Loss and gradient of a step on the ``meta`` device."""
    latents, _, actions = trainer.load(0)
    trainer.model.to(META)
    trainer.tokenizer.to(META)
    if trainer.method is not None:
        trainer.method.to(META)
        for teacher in getattr(trainer.method, "_teacher", ()):
            teacher.to(META)
    inputs = [None if part is None else part.to(META) for part in (latents, labels, actions)]
    parameters = list(trainer.model.parameters())
    with NoTensors(), NoWaiting():
        loss, gradients = gradient(trainer._loss_of, inputs, parameters, Generator())
    assert loss.device == META
    assert sum(part is not None for part in gradients) > len(gradients) / 2


@pytest.mark.parametrize("loss", ["x_ramp", "x", "v"])
def test_regression_does_not_wait(bars, tmp_path, loss):
    trainer = make_trainer(bars, tmp_path)
    trainer.flow = replace(trainer.flow, loss=loss, own_fraction=0.5, motion_weight=3.0)
    take_step(trainer)


def test_weights_of_objects_do_not_wait(bars, tmp_path):
    trainer = make_trainer(bars, tmp_path)
    trainer.flow = replace(trainer.flow, object_weights=(2.0, 5.0))
    shape = (trainer.config.batch_size, trainer.config.length, SIZE, SIZE)
    take_step(trainer, torch.ones(shape, dtype=torch.uint8))


@pytest.mark.parametrize("loss", ["energy", "shortcut", "consistency"])
def test_few_step_methods_that_are_replayed_do_not_wait(bars, tmp_path, loss):
    trainer = few_step_trainer(bars, tmp_path, loss)
    assert trainer.method.replayable
    take_step(trainer)


X = torch.ones(3, device=META)


@pytest.mark.parametrize(
    "computation",
    [
        lambda: X.max().item(),
        lambda: int(X.max()),
        lambda: bool((X > 0).all()),
        lambda: X[X > 0],
        lambda: X + torch.tensor([1.0, 2.0, 3.0], device=META),
        lambda: torch.tensor(2.0, device=META),
        lambda: torch.zeros(3).to(META) + X,
        lambda: X[torch.tensor([0, 1])],
    ],
)
def test_what_waits_is_seen(computation):
    with pytest.raises(WouldWait), NoTensors(), NoWaiting():
        computation()


def test_what_does_not_wait_passes():
    with NoTensors(), NoWaiting():
        y = X * 2.0 + torch.where(X > 0, 1.0, X) + torch.linspace(0, 1, 3, device=META)
        y[..., 1:] = 0.0
        _ = 2.0**y, y[torch.arange(2, device=META)], y.clamp(min=1e-3)
