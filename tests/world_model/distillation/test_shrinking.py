from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gymnasium import spaces

from tests.world_model.tiny import randomise
from world_model.action_spec import ActionSpec
from world_model.distillation.shrinking import narrow, shrink
from world_model.errors import ConfigError
from world_model.network import NetworkConfig, NextFrameDiffusion

CONFIG = NetworkConfig(
    grid=(2, 2), token_dim=5, width=16, layers=6, heads=2, mlp_width=32, temporal_layers=(1, 3)
)
SPEC = ActionSpec.from_space(spaces.Discrete(3))


def make(**changes) -> NextFrameDiffusion:
    network = NextFrameDiffusion(replace(CONFIG, **changes), SPEC)
    randomise(network)
    return network.eval().requires_grad_(False)


def outputs(network: NextFrameDiffusion) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 4, 5, generator=generator)
    return network(x, torch.ones(2, 4), torch.zeros(2, 4, 1))


def test_blocks_that_do_nothing_are_not_missed():
    network = make()
    for index in (2, 4):
        for parameter in network.blocks[index].modulation.parameters():
            parameter.zero_()  # every gate is closed
    smaller = shrink(network, 4)
    assert smaller.config == replace(CONFIG, layers=4, temporal_layers=(1, 2))
    assert torch.allclose(outputs(smaller), outputs(network), atol=1e-6)
    assert not torch.allclose(outputs(shrink(make(), 4)), outputs(make()))


def test_the_rest_spreads_evenly():
    assert shrink(make(), 5).config.temporal_layers == (1, 3)  # 0 1 2 3 5
    assert shrink(make(), 6).config == CONFIG
    everywhere = shrink(make(temporal_layers=None), 3)
    assert everywhere.config.temporal_layers is None
    assert everywhere.config.layers == 3


def test_what_cannot_be_left_out():
    for layers in (3, 7, 0):
        with pytest.raises(ConfigError, match=r"cut to 4 or more of them, not to"):
            shrink(make(), layers)


@pytest.mark.parametrize("kind", ["relu2", "swiglu"])
def test_units_that_do_nothing_are_not_missed(kind):
    network = make(mlp=kind)
    for index, block in enumerate(network.blocks):
        idle = torch.arange(index, 32, 2)  # some never answer, the others never write
        parts = block.mlp.project_in.weight.unflatten(0, (-1, 32))
        parts[0, idle[::2]] = 0
        block.mlp.project_out.weight[:, idle[1::2]] = 0
    smaller = narrow(network, 32 - 14)
    assert smaller.config == replace(CONFIG, mlp=kind, mlp_width=18)
    assert torch.allclose(outputs(smaller), outputs(network), atol=1e-6)
    assert narrow(network, 32).config == network.config
    assert not torch.allclose(outputs(narrow(network, 8)), outputs(network))
    for width in (0, 33):
        with pytest.raises(ConfigError, match="cut to 1 or more of them, not to"):
            narrow(network, width)
