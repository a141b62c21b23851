"""The perceptual network: LPIPS' distance, from a file that is checked."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from world_model.autoencoder import perceptual
from world_model.autoencoder.perceptual import PerceptualDistance
from world_model.errors import ConfigError

# VGG16's convolutions as torchvision numbers them, and those after which it pools.
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
LAST_OF_STAGE = (2, 7, 14, 21, 28)


@pytest.fixture
def narrow(monkeypatch):
    """VGG16's layout with few channels."""
    monkeypatch.setattr(perceptual, "STAGES", ((4, 4), (4, 4), (6, 6, 6), (8, 8, 8), (8, 8, 8)))


@pytest.fixture
def weights(narrow):
    """What a file of the narrow network holds."""
    torch.manual_seed(0)
    made, channels, stage = {}, 3, 0
    for place in PLACES:
        outputs = perceptual.STAGES[stage][0]
        made[f"features.{place}.weight"] = torch.randn(outputs, channels, 3, 3) * 0.3
        made[f"features.{place}.bias"] = torch.randn(outputs) * 0.1
        channels = outputs
        if place in LAST_OF_STAGE:
            made[f"lin{stage}.model.1.weight"] = torch.rand(1, channels, 1, 1)
            stage += 1
    return made


def by_definition(weights, a, b):
    """LPIPS with VGG16, layer by layer."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    x, y = (a - shift) / scale, (b - shift) / scale
    total, stage = torch.zeros(len(a)), 0
    for place in PLACES:
        weight, bias = (weights[f"features.{place}.{kind}"] for kind in ("weight", "bias"))
        x, y = (F.relu(F.conv2d(p, weight, bias, padding=1)) for p in (x, y))
        if place in LAST_OF_STAGE:
            one, other = (p / (p.square().sum(1, keepdim=True).sqrt() + 1e-10) for p in (x, y))
            learned = weights[f"lin{stage}.model.1.weight"]
            total = total + F.conv2d((one - other) ** 2, learned).mean((1, 2, 3))
            x, y = (F.max_pool2d(p, 2, 2) for p in (x, y))
            stage += 1
    return total


def test_the_distance_is_that_of_lpips(weights, tmp_path):
    save_file(weights, tmp_path / "vgg.safetensors")
    network = PerceptualDistance.from_file(tmp_path / "vgg.safetensors")
    a, b = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(network(a, b), by_definition(weights, a, b))
    assert (network(a, a) == 0).all()
    assert not any(p.requires_grad for p in network.parameters())
    a.requires_grad_()
    network(a, b).sum().backward()
    assert a.grad.abs().sum() > 0


def test_files_that_are_none(weights, tmp_path):
    path = tmp_path / "vgg.safetensors"
    with pytest.raises(ConfigError, match="cannot be read"):
        PerceptualDistance.from_file(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="cannot be read"):
        PerceptualDistance.from_file(path)
    save_file({k: v for k, v in weights.items() if k != "features.28.bias"}, path)
    with pytest.raises(ConfigError, match=r"has no 'features\.28\.bias'"):
        PerceptualDistance.from_file(path)
    save_file({**weights, "features.0.weight": torch.zeros(7, 3, 3, 3)}, path)
    with pytest.raises(ConfigError, match="is not VGG16 with LPIPS' weights"):
        PerceptualDistance.from_file(path)
