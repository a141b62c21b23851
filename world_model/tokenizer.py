"""Frames to tokens and back: the interface, and the exact tokenizer for frames up to 128 pixels.

For larger ones there is :class:`world_model.autoencoder.tokenizer.AutoencoderTokenizer`.

A frame becomes ``num_tokens`` tokens of ``token_dim`` numbers with about unit standard deviation,
so that noise of unit variance (t = 1 in :mod:`world_model.flow`) drowns them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from world_model.autoencoder.config import AutoencoderConfig
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.patches import patchify, unpatchify


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

    def in_precision(self, dtype: torch.dtype) -> Tokenizer:
        """What decodes with matrix products in ``dtype``: itself, or a copy for inference."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, without weights; see :func:`tokenizer_from_dict`."""
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

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        height, width, _ = self.frame_shape
        return height // self.patch_size, width // self.patch_size

    @property
    def token_dim(self) -> int:
        """Numbers per token."""
        return self.patch_size**2 * self.frame_shape[-1]


class PixelPatchTokenizer(nn.Module):
    """One token per square of pixels: nothing to train, nothing lost.

    ``decode(encode(frames)) == frames`` for every uint8 frame, down to a single pixel.
    """

    rounds_feedback = True
    mean: Tensor

    def __init__(self, config: PixelPatchConfig) -> None:
        super().__init__()
        self.config = config
        self.grid, self.token_dim = config.grid, config.token_dim
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
        return patchify(images, self.config.patch_size)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """Inverse of :meth:`patchify`."""
        return unpatchify(tokens, self.config.patch_size, self.grid)

    def in_precision(self, dtype: torch.dtype) -> PixelPatchTokenizer:
        """Itself: there are no matrix products to speed up."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description, read back by :func:`tokenizer_from_dict`."""
        return {"kind": "pixel_patch", **asdict(self.config)}


KINDS: dict[str, type[PixelPatchConfig] | type[AutoencoderConfig]] = {
    "pixel_patch": PixelPatchConfig,
    "autoencoder": AutoencoderConfig,
}
FrameTokenizer = PixelPatchTokenizer | AutoencoderTokenizer
"""The tokenizers that a world can have."""


def tokenizer_config(data: dict[str, Any]) -> PixelPatchConfig | AutoencoderConfig:
    """The configuration in what ``to_dict`` of a tokenizer gave.

    Raises:
        ValueError: if the kind is unknown, a field is missing or unknown, or a value does not fit.
    """
    given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"unknown tokenizer kind {kind!r}; known: {', '.join(KINDS)}.")
    known = {field.name for field in fields(KINDS[kind])}
    if known != given.keys():
        raise ValueError(f"the tokenizer's fields {sorted(known ^ given.keys())} do not fit.")
    return KINDS[kind](**given)


def tokenizer_from_dict(data: dict[str, Any]) -> FrameTokenizer:
    """Builds the tokenizer that ``to_dict`` described; an autoencoder's weights are random.

    Raises:
        ValueError: as :func:`tokenizer_config`.
    """
    config = tokenizer_config(data)
    if isinstance(config, AutoencoderConfig):
        return AutoencoderTokenizer(config)
    return PixelPatchTokenizer(config)
