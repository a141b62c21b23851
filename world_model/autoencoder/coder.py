"""Encoder, bottleneck and decoder: images to a distribution of latents, latents to images.

The design of latent diffusion's autoencoders (Rombach et al. 2022, arXiv 2112.10752): residual
blocks with group norm and SiLU at every level, attention at the coarsest. Images are
(B, 3, H, W) with values in [-1, 1], latents (B, channels, H / f, W / f) with f the downsampling.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from world_model.autoencoder.config import AutoencoderConfig
from world_model.autoencoder.layers import (
    AttentionBlock,
    Downsample,
    ResidualBlock,
    group_norm,
    middle,
    upsample,
)

COLOURS = 3
LOG_VARIANCE = (-30.0, 20.0)
"""Range that the logarithm of a latent's variance is kept in."""


@dataclass(frozen=True)
class Posterior:
    """Independent normal distributions, one for each number of the latents."""

    mean: Tensor
    """(B, channels, h, w)."""
    log_variance: Tensor
    """(B, channels, h, w)."""

    def sample(self, noise: Tensor) -> Tensor:
        """The sample that standard normal noise makes; gradients flow to mean and variance."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self) -> Tensor:
        """(B, channels, h, w) divergence from the standard normal distribution, in nats."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)


class Encoder(nn.Module):
    """Images to the distribution of their latents."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths
        width = widths[0]
        layers: list[nn.Module] = [nn.Conv2d(COLOURS, width, 3, padding=1)]
        for level, outputs in enumerate(widths):
            if level:
                layers.append(Downsample(width))
            for _ in range(config.blocks):
                layers.append(ResidualBlock(width, outputs))
                width = outputs
                if level == len(widths) - 1:
                    layers.append(AttentionBlock(width))
        numbers = 2 * config.latent_channels
        layers += [
            *middle(width),
            group_norm(width),
            nn.SiLU(),
            nn.Conv2d(width, numbers, 3, padding=1),
            nn.Conv2d(numbers, numbers, 1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Posterior:
        """(B, 3, H, W) to (B, channels, H / f, W / f), float32."""
        mean, log_variance = self.layers(images).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCE))


class Decoder(nn.Module):
    """Latents to images."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, channels = config.widths[::-1], config.latent_channels
        width = widths[0]
        layers: list[nn.Module] = [
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, width, 3, padding=1),
            *middle(width),
        ]
        for level, outputs in enumerate(widths):
            if level:
                layers += upsample(width)
            for _ in range(config.blocks + 1):
                layers.append(ResidualBlock(width, outputs))
                width = outputs
                if level == 0:
                    layers.append(AttentionBlock(width))
        layers += [group_norm(width), nn.SiLU(), nn.Conv2d(width, COLOURS, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, 3, h * f, w * f), about [-1, 1]."""
        return self.layers(latents)
