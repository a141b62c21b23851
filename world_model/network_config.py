"""Shape of the next-frame diffusion transformer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from world_model.transport import BLOCK

CHANNELS = 3
"""Colours of a pixel."""


@dataclass(frozen=True)
class NetworkConfig:
    """Configuration of :class:`NextFrameDiffusion`."""

    grid: tuple[int, int] = (8, 8)
    """Rows and columns of tokens in a frame."""
    token_dim: int = 192
    """Numbers per token, as the tokenizer makes them."""
    width: int = 192
    """Width of the residual stream."""
    layers: int = 6
    """Number of transformer blocks."""
    heads: int = 3
    """Attention heads; width / heads is the head dimension."""
    mlp: str = "relu2"
    """``swiglu`` (the paper's) or ``relu2`` (squared ReLU, cheaper on CPUs)."""
    mlp_width: int = 768
    """Inner width of the MLP."""
    window: int = 6
    """Frames in sight of a frame, its own included."""
    temporal_layers: tuple[int, ...] | None = None
    """Layers that look across frames; the others see their own frame alone. None: all (the
    paper's)."""
    previous_frames: int = 0
    """How many frames before it each frame's tokens are given as extra input. With one or more the
    output is the change on top of the last of them. Two show motion within a single token."""
    transport: tuple[int, int] | tuple[int, int, int] | None = None
    """Rows and columns, in pixels, by which filters can displace the previous frame; and by how
    many (default 2) in both directions at once; see :mod:`world_model.transport`. Needs
    ``previous_frames`` and tokens that are pixel patches."""
    step_size: bool = False
    """Whether the network is told how far the sampler is about to step; see
    :mod:`world_model.distillation.shortcut`."""
    rope_theta: float = 256.0
    """Base of the rotary frequencies."""

    def __post_init__(self) -> None:
        if self.layers < 1 or min(self.grid) < 1:
            raise ValueError(
                f"a network needs at least one layer and at least one token, not {self.layers} "
                f"layers and a grid of {self.grid}."
            )
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(
                f"width {self.width} does not divide into {self.heads} heads of even dimension."
            )
        if self.mlp not in ("swiglu", "relu2"):
            raise ValueError(f"mlp must be 'swiglu' or 'relu2', not {self.mlp!r}.")
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}.")
        if any(not 0 <= layer < self.layers for layer in self.temporal_layers or ()):
            raise ValueError(f"temporal_layers {self.temporal_layers} are not all layers.")
        if self.transport is not None:
            if not self.previous_frames:
                raise ValueError("transport displaces the previous frame: set previous_frames.")
            if self.patch_size**2 * CHANNELS != self.token_dim or self.patch_size % BLOCK:
                raise ValueError(
                    f"transport needs square patches of RGB pixels, {BLOCK} or a multiple of it "
                    f"a side; tokens of {self.token_dim} numbers are none."
                )

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels, where tokens are pixel patches."""
        return math.isqrt(self.token_dim // CHANNELS)

    @property
    def head_dim(self) -> int:
        """Dimensions per attention head."""
        return self.width // self.heads

    @property
    def tokens(self) -> int:
        """Tokens per frame."""
        return self.grid[0] * self.grid[1]

    @property
    def across_frames(self) -> tuple[int, ...]:
        """The layers that look across frames, in order."""
        if self.temporal_layers is None:
            return tuple(range(self.layers))
        return tuple(sorted(self.temporal_layers))
