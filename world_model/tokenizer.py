"""Frames to tokens and back: the interface, and the exact tokenizer for small frames.

A frame becomes ``num_tokens`` tokens of ``token_dim`` numbers with about unit standard deviation,
so that noise of unit variance (t = 1 in :mod:`world_model.flow`) drowns them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Tokenizer(Protocol):
    """What the rest of the world needs of a tokenizer."""

    grid: tuple[int, int]
    """Rows and columns of tokens."""
    token_dim: int
    """Numbers per token."""
    rounds_feedback: bool
    """True where the frame that is fed back is the uint8 frame that the agent saw."""

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (..., H, W, 3) to float32 (..., num_tokens, token_dim)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """float32 (..., num_tokens, token_dim) to uint8 (..., H, W, 3), rounded and clamped."""
        ...


@dataclass(frozen=True)
class PixelPatchConfig:
    """Configuration of :class:`PixelPatchTokenizer`."""

    frame_shape: tuple[int, int, int] = (64, 64, 3)
    """Height, width and channels of a frame, in pixels."""
    patch_size: int = 8
    """Side of a square patch, in pixels; one patch is one token."""
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    """Mean pixel value of each channel over the training data, in [0, 255]."""
    std: float = 127.5
    """Standard deviation of pixel values over the training data, one number for all channels."""

    def __post_init__(self) -> None:
        height, width, channels = self.frame_shape
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, not {self.patch_size}.")
        if min(self.frame_shape) < 1:
            raise ValueError(f"frames of shape {self.frame_shape} must have at least one pixel.")
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"frames of {height}x{width} pixels do not divide into patches of "
                f"{self.patch_size}x{self.patch_size}. Choose another patch_size."
            )
        if len(self.mean) != channels:
            raise ValueError(f"mean has {len(self.mean)} entries for {channels} channels.")
        if not self.std > 0:
            raise ValueError(f"std must be positive, not {self.std}.")


class PixelPatchTokenizer(nn.Module):
    """One token per square of pixels: nothing to train, nothing lost.

    ``decode(encode(frames)) == frames`` for every uint8 frame, down to a single pixel.
    """

    rounds_feedback = True
    mean: Tensor

    def __init__(self, config: PixelPatchConfig) -> None:
        super().__init__()
        self.config = config
        height, width, channels = config.frame_shape
        self.grid = (height // config.patch_size, width // config.patch_size)
        self.token_dim = config.patch_size**2 * channels
        self.register_buffer("mean", torch.tensor(config.mean), persistent=False)

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (..., H, W, 3) to float32 (..., num_tokens, token_dim)."""
        normalised = (frames.to(torch.float32) - self.mean) / self.config.std
        return self.patchify(normalised)

    def decode(self, latents: Tensor) -> Tensor:
        """float32 (..., num_tokens, token_dim) to uint8 (..., H, W, 3), rounded and clamped."""
        pixels = self.unpatchify(latents) * self.config.std + self.mean
        return pixels.round_().clamp_(0, 255).to(torch.uint8)

    def patchify(self, images: Tensor) -> Tensor:
        """(..., H, W, C) to (..., num_tokens, patch_size**2 * C)."""
        p, (rows, columns) = self.config.patch_size, self.grid
        patches = images.unflatten(-3, (rows, p)).unflatten(-2, (columns, p))
        return patches.transpose(-4, -3).flatten(-3).flatten(-3, -2)  # (..., rows*columns, p*p*C)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """Inverse of :meth:`patchify`."""
        p, (rows, columns) = self.config.patch_size, self.grid
        channels = tokens.shape[-1] // p**2
        patches = tokens.unflatten(-1, (p, p, channels)).unflatten(-4, (rows, columns))
        return patches.transpose(-4, -3).flatten(-3, -2).flatten(-4, -3)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, read back by :func:`tokenizer_from_dict`."""
        return {"kind": "pixel_patch", **asdict(self.config)}


def tokenizer_from_dict(data: dict[str, Any]) -> PixelPatchTokenizer:
    """Builds the tokenizer that ``to_dict`` described.

    Raises:
        ValueError: if the kind is unknown or a field does not fit.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind != "pixel_patch":
        raise ValueError(f"unknown tokenizer kind {kind!r}; known: 'pixel_patch'.")
    fields["frame_shape"] = tuple(fields["frame_shape"])
    fields["mean"] = tuple(fields["mean"])
    return PixelPatchTokenizer(PixelPatchConfig(**fields))
