"""How a world is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from world_model.precision import PRECISIONS


@dataclass(frozen=True)
class TrainConfig:
    """Length, speed and reporting of a training run."""

    steps: int = 20_000
    """Optimiser steps."""
    batch_size: int = 12
    """Windows per step, over all processes together."""
    length: int = 10
    """Frames per window; longer than the attention window, so that training meets what streaming
    meets."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    decay_fraction: float = 0.25
    """Share of the steps, at the end, over which the learning rate falls linearly to zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    optimizer: str = "muon"
    """``muon`` (hidden matrices by Muon, the rest by AdamW) or ``adamw``."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights; warmed up over the first steps."""
    precision: str = "auto"
    """``auto`` (bfloat16 where the hardware is fast at it), ``float32`` or ``bfloat16``."""
    compile: bool = False
    """Compile the network with torch.compile (needs a C++ compiler on a CPU)."""
    graphs: bool = True
    """On a GPU, replay steps as one CUDA graph; see :mod:`world_model.training.step_graph`. Not
    with ``compile``, several processes, or losses that do not allow it."""
    seed: int = 0
    """Seed of initialisation, windows and noise."""
    log_every: int = 20
    """Steps between lines of the log."""
    save_every: int = 500
    """Steps between checkpoints; also on interruption and at the end."""
    sample_every: int = 2000
    """Steps between sample videos and validation losses (0: never)."""

    def __post_init__(self) -> None:
        if self.optimizer not in ("muon", "adamw"):
            raise ValueError(f"optimizer must be 'muon' or 'adamw', not {self.optimizer!r}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, not {self.precision!r}.")
        for name in ("steps", "batch_size", "length", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("warmup_steps", "weight_decay", "sample_every"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}.")
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}.")
        for name in ("decay_fraction", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {getattr(self, name)}.")
