"""Parts of the transformer block that take another way where nothing is learned."""

import pytest
import torch

from world_model.blocks import MLP


@pytest.mark.parametrize("kind", ["relu2", "swiglu"])
def test_an_mlp_infers_the_same_bits_and_leaves_its_input_alone(kind):
    torch.manual_seed(0)
    mlp = MLP(16, 48, kind)
    x = torch.randn(2, 3, 5, 16)
    before = x.clone()
    with torch.no_grad():
        quick = mlp(x)
    assert torch.equal(quick, mlp(x))
    assert torch.equal(x, before)
