"""Shape of the autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

DOWNSAMPLINGS = (8, 16)
"""Pixels of a frame along a latent's side that there are networks for."""
MULTIPLIERS = {8: (1, 2, 4, 4), 16: (1, 1, 2, 2, 4)}
"""Width of each level, finest first, in units of the base width: those of latent diffusion's KL-f8
and KL-f16 (Rombach et al. 2022, arXiv 2112.10752)."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Configuration of :class:`world_model.autoencoder.tokenizer.AutoencoderTokenizer`.

    The defaults are the paper's tokenizer: KL-16, 70 million parameters, 84 tokens of 64 numbers
    for a frame of 384x224.
    """

    frame_shape: tuple[int, int, int] = (224, 384, 3)
    """Height, width and channels of a frame, in pixels."""
    downsampling: int = 16
    """Pixels along a latent's side: 8 or 16."""
    latent_channels: int = 16
    """Numbers per latent."""
    patch_size: int = 2
    """Latents along a token's side."""
    width: int = 128
    """Channels of the finest level; the others have multiples of it."""
    blocks: int = 2
    """Residual blocks of each level of the encoder; the decoder has one more."""
    latent_mean: tuple[float, ...] | None = None
    """Mean of each latent channel over the training data; None: not estimated yet, zero."""
    latent_std: float = 1.0
    """Standard deviation of latents over the training data, one number for all channels."""

    def __post_init__(self) -> None:
        height, width, channels = self.frame_shape
        if self.downsampling not in DOWNSAMPLINGS:
            raise ValueError(f"downsampling must be 8 or 16, not {self.downsampling}.")
        for name in ("latent_channels", "patch_size", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if channels != 3 or min(height, width) < 1:
            raise ValueError(f"frames must be of shape (height, width, 3), not {self.frame_shape}.")
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width must be a multiple of 4, not {self.width}.")
        side = self.token_side
        if height % side or width % side:
            fitting = "x".join(str(max(side, n // side * side)) for n in (height, width))
            raise ValueError(
                f"frames of {height}x{width} pixels do not divide into tokens of {side}x{side} "
                f"(downsampling {self.downsampling}, {self.patch_size}x{self.patch_size} latents a "
                f"token). Record frames of {fitting}, or choose a smaller downsampling or "
                "patch_size."
            )
        if self.latent_mean is not None and len(self.latent_mean) != self.latent_channels:
            raise ValueError(
                f"latent_mean has {len(self.latent_mean)} entries for {self.latent_channels} "
                "channels."
            )
        if not self.latent_std > 0:
            raise ValueError(f"latent_std must be positive, not {self.latent_std}.")

    @property
    def token_side(self) -> int:
        """Pixels along a token's side."""
        return self.downsampling * self.patch_size

    @property
    def latent_grid(self) -> tuple[int, int]:
        """Rows and columns of latents."""
        height, width, _ = self.frame_shape
        return height // self.downsampling, width // self.downsampling

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        rows, columns = self.latent_grid
        return rows // self.patch_size, columns // self.patch_size

    @property
    def token_dim(self) -> int:
        """Numbers per token."""
        return self.patch_size**2 * self.latent_channels

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every level, finest first."""
        return tuple(self.width * times for times in MULTIPLIERS[self.downsampling])
