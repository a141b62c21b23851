"""Weights turned over in memory stay what they are, wherever they go."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.world_model.tiny import tiny_world
from world_model import weight_layout
from world_model.vector_linear import VectorLinear
from world_model.weight_layout import lay_out
from world_model.weights import stored_weights


@pytest.fixture
def exact(monkeypatch):
    """As on a CPU whose products are the same either way."""
    monkeypatch.setattr(weight_layout, "_changes_nothing", lambda *kind: True)


@torch.no_grad()
def test_no_bit_of_a_product_changes():
    """On any CPU: where one would, nothing is turned over."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(192, 768), nn.ReLU(), nn.Linear(768, 192, bias=False))
    parts = [torch.randn(1, frames * 64, 192) for frames in (1, 2, 4)]
    expected = [layers(part) for part in parts]
    lay_out(layers, 64)
    assert all(torch.equal(layers(part), e) for part, e in zip(parts, expected, strict=True))


def test_where_a_bit_would_change_nothing_is_done(monkeypatch):
    monkeypatch.setattr(weight_layout, "_changes_nothing", lambda shape, *_: shape[0] == 8)
    layers = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    lay_out(layers, 64)
    assert layers[0].weight.stride() == (1, 8)
    assert layers[1].weight.is_contiguous()


def test_layers_of_few_vectors_are_left_alone(exact):
    layers = nn.Sequential(nn.Linear(4, 8), VectorLinear(8, 3))
    lay_out(layers, 64)
    assert layers[0].weight.stride() == (1, 8)
    assert layers[1].weight.is_contiguous()


def test_again_changes_nothing(exact):
    layer = nn.Linear(4, 8)
    lay_out(layer, 64)
    where = layer.weight.data_ptr()
    lay_out(layer, 64)
    assert layer.weight.data_ptr() == where


def test_learns_as_before(exact):
    torch.manual_seed(0)
    layers = [nn.Linear(16, 32), nn.Linear(16, 32)]
    layers[1].load_state_dict(layers[0].state_dict())
    lay_out(layers[1], 64)
    tokens = torch.randn(64, 16)
    for layer in layers:
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            layer(tokens).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(layers[1].weight, layers[0].weight)


def test_global_random_numbers_are_not_drawn_from():
    layer = nn.Linear(4, 8)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    lay_out(layer, 64)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.int8])
def test_a_world_that_was_used_is_saved_as_one_that_was_not(exact, dtype):
    world = tiny_world()
    expected = stored_weights(world.network, dtype)
    world.network_in(torch.float32)
    assert world.network.embed.weight.t().is_contiguous(), "nothing was turned over"
    found = stored_weights(world.network, dtype)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(tensor.is_contiguous() for tensor in found.values())
