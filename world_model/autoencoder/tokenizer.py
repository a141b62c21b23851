"""The autoencoder behind the interface of a tokenizer."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from world_model.autoencoder.coder import Decoder, Encoder, Posterior
from world_model.autoencoder.config import AutoencoderConfig
from world_model.patches import patchify, unpatchify

FRAMES_AT_ONCE = 16
"""Frames that go through the networks together; more would only take more memory."""


class AutoencoderTokenizer(nn.Module):
    """Square patches of an autoencoder's latents, scaled to unit standard deviation.

    A frame is told by the mean of its distribution: the same frame always has the same tokens. What
    decoding gives is near the frame, not equal to it, so the tokens themselves are fed back.

    Args:
        config: shape and scale.
        encoder: None: one with random weights.
        decoder: likewise.
    """

    rounds_feedback = False
    latent_mean: Tensor

    def __init__(
        self,
        config: AutoencoderConfig,
        encoder: Encoder | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.grid, self.token_dim = config.grid, config.token_dim
        self.encoder = Encoder(config) if encoder is None else encoder
        self.decoder = Decoder(config) if decoder is None else decoder
        mean = config.latent_mean or (0.0,) * config.latent_channels
        self.register_buffer("latent_mean", torch.tensor(mean), persistent=False)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (..., H, W, 3) to float32 (..., num_tokens, token_dim); no gradients flow."""
        parts = [
            self.to_tokens(self.encoder(self.to_images(part)).mean)
            for part in frames.reshape(-1, *frames.shape[-3:]).split(FRAMES_AT_ONCE)
        ]
        return torch.cat(parts).view(*frames.shape[:-3], -1, self.token_dim)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """float32 (..., num_tokens, token_dim) to uint8 (..., H, W, 3), rounded and clamped."""
        parts = [
            to_pixels(self.decoder(self.from_tokens(part)))
            for part in latents.reshape(-1, *latents.shape[-2:]).split(FRAMES_AT_ONCE)
        ]
        return torch.cat(parts).view(*latents.shape[:-2], *self.config.frame_shape)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Posterior]:
        """Images (B, 3, H, W) in [-1, 1], decoded from a sample of their latents; for training.

        Args:
            images: what to encode.
            noise: standard normal, (B, channels, h, w), that the sample is made from.
        """
        posterior = self.encoder(images)
        return self.decoder(posterior.sample(noise)), posterior

    def to_images(self, frames: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) to (B, 3, H, W) in [-1, 1], in the number format of the encoder."""
        images = frames.movedim(-1, 1).to(dtype_of(self.encoder))
        return (images / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def to_tokens(self, latents: Tensor) -> Tensor:
        """Latents (B, channels, h, w) to tokens (B, num_tokens, token_dim) of about unit scale."""
        scaled = (latents.float().movedim(1, -1) - self.latent_mean) / self.config.latent_std
        return patchify(scaled, self.config.patch_size)

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """Inverse of :meth:`to_tokens`, in the number format of the decoder."""
        scaled = unpatchify(tokens.float(), self.config.patch_size, self.grid)
        latents = (scaled * self.config.latent_std + self.latent_mean).movedim(-1, 1)
        dtype = dtype_of(self.decoder)
        return latents.to(dtype).contiguous(memory_format=torch.channels_last)

    def with_scale(self, mean: tuple[float, ...], std: float) -> AutoencoderTokenizer:
        """The same networks with another scale of their latents."""
        config = replace(self.config, latent_mean=mean, latent_std=std)
        return self._again(config, self.decoder)

    def in_precision(self, dtype: torch.dtype) -> AutoencoderTokenizer:
        """A copy whose decoder runs in ``dtype``, laid out for speed; itself for its own dtype.

        Real frames are encoded once an episode, imagined ones decoded at every step: the encoder
        stays as it is, and is shared.
        """
        if dtype == dtype_of(self.decoder):
            return self
        decoder = copy.deepcopy(self.decoder).to(dtype)
        decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self._again(self.config, decoder)

    def _again(self, config: AutoencoderConfig, decoder: Decoder) -> AutoencoderTokenizer:
        made = AutoencoderTokenizer(config, self.encoder, decoder)
        return made.to(self.latent_mean.device).train(self.training)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, without the weights."""
        return {"kind": "autoencoder", **asdict(self.config)}


def dtype_of(module: nn.Module) -> torch.dtype:
    """Number format of a module's weights."""
    return next(module.parameters()).dtype


def to_pixels(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] to uint8 (B, H, W, 3), rounded and clamped."""
    pixels = (127.5 * (images.float() + 1)).round_().clamp_(0, 255)
    return pixels.to(torch.uint8).movedim(1, -1)
