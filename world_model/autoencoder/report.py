"""How good an autoencoder is, on frames that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.data.images import encode_png
from world_model.image_quality import psnr, ssim
from world_model.storage import atomic_file

GAP = 2
"""Pixels between the pictures of a comparison."""
SHOWN = 4
"""Frames of a comparison."""
LOUDER = 4
"""By how much the errors of a comparison are enlarged."""


@dataclass(frozen=True)
class TokenizerReport:
    """How near decoded frames are to real ones, and what their latents are like."""

    frames: int
    """Frames that were measured."""
    psnr: float
    """Peak signal-to-noise ratio in dB of the mean squared error over all frames."""
    psnr_worst: float
    """That of the worst frame."""
    ssim: float
    """Mean structural similarity, at most 1."""
    absolute_error: float
    """Mean absolute error in grey levels, 0 to 255."""
    bits_per_number: float
    """KL divergence of the latents from the standard normal distribution, in bits a number."""
    bits_per_frame: float
    """The same for all latents of a frame: what a frame tells, at most."""
    pixels_per_number: float
    """Numbers of a frame's pixels for one number of its latents."""
    token_mean: float
    """Mean of all tokens' numbers: near 0, if they were scaled for such frames."""
    token_std: float
    """Their standard deviation: near 1, likewise."""
    channel_std: list[float]
    """The standard deviation of each latent channel, scaled likewise: one near 0 tells nothing."""


@torch.no_grad()
def measure(tokenizer: AutoencoderTokenizer, batches: Iterable[Tensor]) -> TokenizerReport:
    """Encodes and decodes frames, and compares.

    Args:
        tokenizer: what to measure, with its scale set.
        batches: uint8 (B, H, W, 3), at least one.
    """
    config, device = tokenizer.config, tokenizer.latent_mean.device
    errors, similar, absolute, nats = [], [], [], []
    sums, squares = torch.zeros(2, config.latent_channels, dtype=torch.float64)
    for frames in batches:
        frames = frames.to(device)
        posterior = tokenizer.encoder(tokenizer.to_images(frames))
        tokens = tokenizer.to_tokens(posterior.mean)
        decoded = tokenizer.decode(tokens)
        difference = frames.float() - decoded.float()
        errors.append(difference.square().mean((1, 2, 3)))
        absolute.append(difference.abs().mean((1, 2, 3)))
        similar.append(ssim(frames, decoded))
        nats.append(posterior.kl().mean((1, 2, 3)))
        numbers = tokens.unflatten(-1, (-1, config.latent_channels)).flatten(0, 2).double().cpu()
        sums += numbers.sum(0)
        squares += numbers.square().sum(0)
    error = torch.cat(errors)
    rows, columns = config.latent_grid
    places = rows * columns
    mean = sums / (places * len(error))
    second = squares / (places * len(error))
    bits = torch.cat(nats).mean().item() / math.log(2)
    return TokenizerReport(
        frames=len(error),
        psnr=psnr(error.mean().item()),
        psnr_worst=psnr(error.max().item()),
        ssim=torch.cat(similar).mean().item(),
        absolute_error=torch.cat(absolute).mean().item(),
        bits_per_number=bits,
        bits_per_frame=bits * places * config.latent_channels,
        pixels_per_number=math.prod(config.frame_shape) / (places * config.latent_channels),
        token_mean=mean.mean().item(),
        token_std=(second.mean() - mean.mean().square()).sqrt().item(),
        channel_std=[round(s, 4) for s in (second - mean.square()).clamp(min=0).sqrt().tolist()],
    )


def write_comparison(path: Path, tokenizer: AutoencoderTokenizer, frames: Tensor) -> None:
    """A PNG of frames: real above, decoded below, then what differs, enlarged, on grey.

    Args:
        path: the file.
        tokenizer: with its scale set.
        frames: uint8 (B, H, W, 3).

    Raises:
        StorageError: if the file cannot be written.
    """
    decoded = tokenizer.decode(tokenizer.encode(frames.to(tokenizer.latent_mean.device))).cpu()
    difference = (128 + LOUDER * (decoded.float() - frames.float())).clamp(0, 255).byte()
    pad = ((0, 0), (0, GAP), (0, GAP), (0, 0))
    rows = [
        np.concatenate(list(np.pad(part.numpy(), pad)), axis=1)
        for part in (frames, decoded, difference)
    ]
    with atomic_file(path) as temporary:
        temporary.write_bytes(encode_png(np.concatenate(rows)))
