"""Muon of many matrices at once takes the steps of PyTorch's, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from world_model.training.muon import BatchedMuon, orthogonalised

SHAPES = [(24, 8), (8, 8), (8, 24), (24, 8), (8, 8), (24, 8)]


def matrices(device="cpu"):
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=generator) for shape in SHAPES]
    return [nn.Parameter(part.to(device)) for part in drawn]


def set_gradients(parameters, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.grad = drawn.to(parameter.device)


def theirs(parameters, **settings):
    return torch.optim.Muon(parameters, adjust_lr_fn="match_rms_adamw", **settings)


def apart(a, b, start):
    """Relative distance of two sets of matrices that moved from ``start``."""
    gap = sum((x - y).square().sum() for x, y in zip(a, b, strict=True))
    way = sum((x - y).square().sum() for x, y in zip(a, start, strict=True))
    return (gap / way).sqrt().item()


def take_steps(optimizer, parameters, first, last):
    for step in range(first, last):
        set_gradients(parameters, step)
        optimizer.step()


@pytest.mark.parametrize("settings", [{}, {"nesterov": False}, {"weight_decay": 0.0, "lr": 0.03}])
def test_steps_are_those_of_pytorch(settings):
    settings = {"lr": 0.01, "weight_decay": 0.1, **settings}
    ours, expected, start = matrices(), matrices(), matrices()
    take_steps(BatchedMuon(ours, **settings), ours, 0, 5)
    take_steps(theirs(expected, **settings), expected, 0, 5)
    assert apart(ours, expected, start) < 0.01  # the iteration runs in bfloat16


def test_checkpoints_of_either_serve_the_other():
    whole, parts = matrices(), matrices()
    take_steps(theirs(whole, lr=0.01), whole, 0, 6)
    first = theirs(parts, lr=0.01)
    take_steps(first, parts, 0, 3)
    second = BatchedMuon(parts, lr=0.01)
    second.load_state_dict(first.state_dict())
    take_steps(second, parts, 3, 6)
    assert apart(parts, whole, matrices()) < 0.01
    third = theirs(parts, lr=0.01)
    third.load_state_dict(second.state_dict())
    for one, other in zip(second.state.values(), third.state.values(), strict=True):
        assert torch.equal(one["momentum_buffer"], other["momentum_buffer"])


def test_what_has_no_gradient_stays_as_it_is():
    parameters, start = matrices(), matrices()
    optimizer = BatchedMuon(parameters, lr=0.01)
    set_gradients(parameters, 0)
    parameters[3].grad = None
    optimizer.step()
    same = [torch.equal(a, b) for a, b in zip(parameters, start, strict=True)]
    assert same == [False, False, False, True, False, False]


def test_a_closure_is_called_with_gradients():
    parameters = matrices()
    optimizer = BatchedMuon(parameters, lr=0.01)

    def closure():
        loss = sum(part.square().sum() for part in parameters)
        loss.backward()
        return loss

    before = closure().item()
    optimizer.zero_grad()
    assert optimizer.step(closure).item() == pytest.approx(before)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_singular_values_come_near_one(shape):
    drawn = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    made = orthogonalised(drawn, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    assert made.shape == drawn.shape
    values = torch.linalg.svdvals(made.float())
    assert values.min() > 0.3
    assert values.max() < 1.4


class Count(TorchDispatchMode):
    """Counts operations that are not mere views."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.total += not func.is_view
        return func(*args, **(kwargs or {}))


def test_it_takes_fewer_operations():
    counts = []
    for kind in (BatchedMuon, theirs):
        parameters = [nn.Parameter(torch.ones(8, 8)) for _ in range(12)]
        optimizer = kind(parameters, lr=0.01)
        set_gradients(parameters, 0)
        with Count() as count:
            optimizer.step()
        counts.append(count.total)
    assert counts[0] < counts[1] / 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_takes_the_steps_of_pytorch():
    ours, expected = matrices("cuda"), matrices("cuda")
    take_steps(BatchedMuon(ours, lr=0.01), ours, 0, 5)
    take_steps(theirs(expected, lr=0.01), expected, 0, 5)
    assert apart(ours, expected, matrices("cuda")) < 0.01
