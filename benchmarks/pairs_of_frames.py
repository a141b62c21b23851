"""What small networks see in two consecutive frames: where things are, and where they go.

What is trained on real pairs is applied to imagined ones, so it must not mind colours that are off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.data.store import EpisodeStore

CHANNELS = (16, 24, 32, 48)
LARGEST = 64
"""Frames are shrunk to at most so many pixels a side."""
BATCH = 128
"""Pairs of a training step."""
RATE = 2e-3
"""Highest learning rate."""
SHIFT = 0.1
"""Colours are shifted by up to so much (of 0..1) while training: a world whose colours are off may
still be right in all else."""


class PairFeatures(nn.Module):
    """Features of two consecutive frames.

    Args:
        frame_shape: height, width, channels.
    """

    width: int
    """How many features there are."""

    def __init__(self, frame_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = tuple(min(side, LARGEST) for side in frame_shape[:2])
        height, width = self.size
        layers: list[nn.Module] = []
        previous = 6
        for channels in CHANNELS:
            layers += [nn.Conv2d(previous, channels, 3, stride=2, padding=1), nn.SiLU()]
            height, width, previous = (height + 1) // 2, (width + 1) // 2, channels
        self.width = previous * height * width
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LayerNorm(self.width))

    def forward(self, before: Tensor, after: Tensor, shift: Tensor | None = None) -> Tensor:
        """Features float32 (N, width) of frames uint8 (N, h, w, 3).

        ``shift`` float32 (N, 3, 1, 1) is added to the colours of both frames.
        """
        pair = torch.cat([before, after], dim=-1).permute(0, 3, 1, 2).float() / 255
        if pair.shape[-2:] != self.size:
            pair = F.interpolate(pair, self.size, mode="area")
        first, second = pair[:, :3], pair[:, 3:]
        seen = first if shift is None else (first + shift).clamp(0, 1)
        # The difference by itself is what tells of motion; it is small.
        features: Tensor = self.layers(torch.cat([seen - 0.5, (second - first) * 4], dim=1))
        return features


def rows_before_another(store: EpisodeStore, split: str) -> np.ndarray:
    """int64 (M,), the rows of a split whose episode has a frame after them."""
    spans = [np.arange(*store.offsets[i : i + 2])[:-1] for i in store.split(split).tolist()]
    return np.concatenate([np.zeros(0, np.int64), *spans])


def draw_pairs(
    store: EpisodeStore, rows: np.ndarray, rng: np.random.Generator, device: torch.device | str
) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
    """A training step's rows (N,), the frames there and after them, and shifts of colour."""
    chosen = np.sort(rng.choice(rows, min(BATCH, len(rows)), replace=False))
    before, after = (torch.from_numpy(store.frames[chosen + i]).to(device) for i in (0, 1))
    shift = torch.from_numpy(rng.uniform(-SHIFT, SHIFT, (len(chosen), 3, 1, 1))).float()
    return chosen, before, after, shift.to(device)


Network = TypeVar("Network", bound=nn.Module)


def train_on_pairs(
    make_network: Callable[[], Network],
    store: EpisodeStore,
    rows: np.ndarray,
    loss_of: Callable[[Network, np.ndarray, Tensor, Tensor, Tensor], Tensor],
    *,
    steps: int,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> Network:
    """A network trained on pairs of real frames, ready to read.

    Args:
        make_network: makes it, with fresh weights.
        store: the data set.
        rows: where pairs may begin, see :func:`rows_before_another`.
        loss_of: from the network and what :func:`draw_pairs` returns to the loss.
        steps: optimiser steps, of :data:`BATCH` pairs each.
        seed: of weights and pairs.
        device: where to train.
        on_step: called with 1 after every step.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(2, steps))
    for _ in range(steps):
        loss = loss_of(network, *draw_pairs(store, rows, rng, device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(1)
    return network.eval()
