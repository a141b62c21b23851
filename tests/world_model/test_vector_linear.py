"""A stream's vectors go through the layer alike, whatever is beside them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from world_model.vector_linear import VectorLinear


def layer(bias: bool = True) -> VectorLinear:
    torch.manual_seed(0)
    return VectorLinear(192, 1152, bias=bias)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 2)])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_no_bit_depends_on_the_batch(shape, bias):
    linear, x = layer(bias), torch.randn(33, *shape, 192)
    together = linear(x)
    for batch in (1, 2, 7, 32):
        assert torch.equal(linear(x[:batch]), together[:batch])


@pytest.mark.parametrize("shape", [(4, 192), (4, 1, 192), (4, 2, 3, 192), (0, 2, 192)])
def test_computes_what_a_linear_layer_does(shape):
    linear, plain, x = layer(), nn.Linear(192, 1152), torch.randn(shape)
    plain.load_state_dict(linear.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(linear(x), plain(x))
        half = linear.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert half.shape == plain(x).shape


def test_learns_like_one():
    linear, plain, x = layer(), nn.Linear(192, 1152), torch.randn(4, 2, 192)
    plain.load_state_dict(linear.state_dict())
    for one in (linear, plain):
        one(x).square().sum().backward()
    assert torch.equal(linear.weight.grad, plain.weight.grad)
    assert torch.equal(linear.bias.grad, plain.bias.grad)
