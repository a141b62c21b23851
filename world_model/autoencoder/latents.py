"""The scale of latents, estimated on recorded frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.data import EpisodeStore

BATCH = 16
"""Frames that are encoded together."""


def frames_of(store: EpisodeStore, split: str, count: int) -> Iterator[Tensor]:
    """Batches uint8 (B, H, W, 3) of about ``count`` frames, spread evenly over a split."""
    episodes = store.split(split)
    rows = np.concatenate(
        [np.arange(store.offsets[i], store.offsets[i + 1]) for i in episodes] or [np.arange(0)]
    )
    rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    for start in range(0, len(rows), BATCH):
        yield torch.from_numpy(np.stack([store.frames[row] for row in rows[start : start + BATCH]]))


@torch.no_grad()
def scaled(tokenizer: AutoencoderTokenizer, batches: Iterator[Tensor]) -> AutoencoderTokenizer:
    """The tokenizer with latents of zero mean a channel and unit standard deviation in all.

    Args:
        tokenizer: its networks are those of the result too.
        batches: uint8 (B, H, W, 3), training frames.
    """
    sums = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    device = tokenizer.latent_mean.device
    for frames in batches:
        latents = tokenizer.encoder(tokenizer.to_images(frames.to(device))).mean.double().cpu()
        sums = sums + latents.sum((0, 2, 3))
        squares = squares + latents.square().sum((0, 2, 3))
        count += latents.numel() // latents.shape[1]
    mean = sums / count
    # Rounded, so that the numbers in the config are the numbers used.
    kept = tuple(float(f"{m:.5g}") for m in mean.tolist())
    variance = (squares / count - mean.square()).mean().clamp(min=0)
    std = max(1e-3, float(f"{variance.sqrt():.5g}"))
    return tokenizer.with_scale(kept, std)
