"""The layers that encoder and decoder are made of."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F


def group_norm(channels: int) -> nn.GroupNorm:
    """Norm over groups of channels: 32 groups, fewer where that leaves less than 4 channels."""
    return nn.GroupNorm(math.gcd(32, max(1, channels // 4)), channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two convolutions, each after group norm and SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm_1 = group_norm(inputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm_2 = group_norm(outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        y = self.conv_1(F.silu(self.norm_1(x)))
        return self.shortcut(x) + self.conv_2(F.silu(self.norm_2(y)))


class AttentionBlock(nn.Module):
    """One head of attention over all places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        q, k, v = (part.flatten(2).mT for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.project(attended.mT.reshape(x.shape))


class Downsample(nn.Conv2d):
    """Halves the resolution; pads below and to the right only, so that nothing shifts."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, 2h, 2w) to (B, channels, h, w)."""
        return super().forward(F.pad(x, (0, 1, 0, 1)))


def upsample(channels: int) -> list[nn.Module]:
    """Layers that double the resolution."""
    return [
        nn.Upsample(scale_factor=2.0, mode="nearest"),
        nn.Conv2d(channels, channels, 3, padding=1),
    ]


def middle(channels: int) -> list[nn.Module]:
    """Layers at the coarsest resolution, where all places see each other."""
    return [
        ResidualBlock(channels, channels),
        AttentionBlock(channels),
        ResidualBlock(channels, channels),
    ]
