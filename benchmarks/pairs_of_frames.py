"""What small networks see in two consecutive frames: where things are, and where they go.

What is trained on real pairs is applied to imagined ones, so it must not mind colours that are off.
"""

from __future__ import annotations

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
