"""How different two images look, by the features of a network that has learnt to see.

The network is VGG16 and the distance LPIPS' (Zhang et al. 2018, arXiv 1801.03924). NFD-World comes
without its weights; bring them as one safetensors file, with torchvision's names for the
convolutions and LPIPS' for what their features weigh:

    import lpips, torchvision
    from safetensors.torch import save_file

    vgg = torchvision.models.vgg16(weights="IMAGENET1K_V1").state_dict()
    weights = {k: v for k, v in vgg.items() if k.startswith("features.")}
    learned = lpips.LPIPS(net="vgg").state_dict()
    weights |= {k: v for k, v in learned.items() if k.startswith("lin") and "lins" not in k}
    save_file(weights, "lpips-vgg16.safetensors")
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.errors import ConfigError

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG16's convolutions; features are compared after each stage, before it is pooled."""
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""ImageNet's mean and standard deviation of colours, for images in [-1, 1]."""


class PerceptualDistance(nn.Module):
    """LPIPS' distance between images in [-1, 1]; gradients flow to the images alone."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        self.weights = nn.ParameterList()
        channels = 3
        for stage in STAGES:
            self.stages.append(nn.ModuleList())
            for outputs in stage:
                self.stages[-1].append(nn.Conv2d(channels, outputs, 3, padding=1))  # type: ignore[operator]
                channels = outputs
            self.weights.append(nn.Parameter(torch.ones(channels)))
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path) -> PerceptualDistance:
        """With the weights of a safetensors file; see the module.

        Raises:
            ConfigError: if it cannot be read, or lacks weights, or they have other shapes.
        """
        with torch.device("meta"):
            network = cls()
        try:
            found = load_file(path)
            state = {ours: found[theirs].reshape(shape) for ours, theirs, shape in _names(network)}
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"the perceptual network {path} cannot be read: {error}. Give a safetensors file."
            ) from error
        except KeyError as error:
            raise ConfigError(
                f"the perceptual network {path} has no {error}: it must hold VGG16's features.*, "
                "named as in torchvision, and lin0 to lin4, named as in LPIPS; "
                "world_model/autoencoder/perceptual.py says how to make one."
            ) from error
        except RuntimeError as error:
            raise ConfigError(
                f"the perceptual network {path} is not VGG16 with LPIPS' weights: {error}."
            ) from error
        made = cls()
        made.load_state_dict(state)
        return made

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B,) distances of images (B, 3, H, W) in [-1, 1], at least 16 pixels a side."""
        x = (torch.cat([a, b]) - self.shift) / self.scale
        distance = torch.zeros(len(a), device=a.device)
        for number, stage in enumerate(self.stages):
            if number:
                x = F.max_pool2d(x, 2)
            for convolution in stage:  # type: ignore[attr-defined]
                x = F.relu(convolution(x))
            features = x.float()
            one, other = (features / (features.norm(dim=1, keepdim=True) + 1e-10)).chunk(2)
            weighted = self.weights[number][:, None, None] * (one - other).square()
            distance = distance + weighted.sum(1).mean((1, 2))
        return distance


def _names(network: PerceptualDistance) -> list[tuple[str, str, torch.Size]]:
    """Name here, name in the file, and shape of every weight."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    pairs = []
    place = 0  # torchvision also counts activations and pooling
    for number, stage in enumerate(STAGES):
        for index in range(len(stage)):
            for kind in ("weight", "bias"):
                pairs.append((f"stages.{number}.{index}.{kind}", f"features.{place}.{kind}"))
            place += 2
        place += 1
        pairs.append((f"weights.{number}", f"lin{number}.model.1.weight"))
    return [(ours, theirs, shapes[ours]) for ours, theirs in pairs]
