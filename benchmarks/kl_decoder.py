"""The decoder of the KL-16 autoencoder, with random weights: for timing only.

The architecture of latent diffusion's decoders (Rombach et al. 2022, arXiv 2112.10752) at a
sixteenth of the resolution, with 16 channels of latents, as the paper's world has it: 384x224
pixels from 24x14 latents. A token of the transformer holds 2x2 of these.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LATENT_CHANNELS = 16
BASE_WIDTH = 128
WIDTHS = (4, 2, 2, 1, 1)
"""Width of each level in units of the base width, coarsest first."""
BLOCKS = 3
"""Residual blocks of a level."""
PATCH = 2
"""Latents along a token's side."""


class ResidualBlock(nn.Module):
    """Two convolutions, each after group norm and SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(32, inputs, eps=1e-6)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm_2 = nn.GroupNorm(32, outputs, eps=1e-6)
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
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        q, k, v = (part.flatten(2).mT for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.project(attended.mT.reshape(x.shape))


class KLDecoder(nn.Module):
    """Latents to frames.

    Args:
        grid: rows and columns of tokens.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        width = BASE_WIDTH * WIDTHS[0]
        layers: list[nn.Module] = [
            nn.Conv2d(LATENT_CHANNELS, LATENT_CHANNELS, 1),
            nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1),
            ResidualBlock(width, width),
            AttentionBlock(width),
            ResidualBlock(width, width),
        ]
        for level, times in enumerate(WIDTHS):
            if level:
                layers.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
                layers.append(nn.Conv2d(width, width, 3, padding=1))
            for _ in range(BLOCKS):
                layers.append(ResidualBlock(width, BASE_WIDTH * times))
                width = BASE_WIDTH * times
                if level == 0:
                    layers.append(AttentionBlock(width))
        layers += [nn.GroupNorm(32, width, eps=1e-6), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, PATCH * PATCH * channels) to frames, uint8 (B, H, W, 3)."""
        x = tokens.unflatten(1, self.grid).unflatten(-1, (PATCH, PATCH, LATENT_CHANNELS))
        x = x.permute(0, 5, 1, 3, 2, 4).flatten(2, 3).flatten(3)  # (B, channels, h, w)
        x = x.to(self.layers[0].weight.dtype).contiguous(memory_format=torch.channels_last)
        x = self.layers(x).float()
        return (127.5 * (x + 1)).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
