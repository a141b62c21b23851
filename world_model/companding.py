"""Mu-law companding: numbers squeezed so that small ones keep their differences.

Telephony's answer to a quantity that is mostly small and now and then large; mouse movements are
of that kind, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Companding:
    """A mu-law curve from [-limit, limit] onto [-1, 1].

    Raises:
        ValueError: if a number is not finite and above 0.
    """

    limit: float
    """Magnitude that becomes 1; larger ones are cut off there."""
    mu: float
    """How much small numbers are favoured; the curve bends at ``limit / mu``."""

    def __post_init__(self) -> None:
        for name in ("limit", "mu"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} of a mu-law must be finite and above 0.")

    def compress(self, x: Any) -> np.ndarray:
        """``sign(x) log(1 + mu |x| / limit) / log(1 + mu)``, of any shape, float64."""
        x = np.asarray(x, np.float64)
        size = np.minimum(np.abs(x), self.limit) / self.limit
        return np.sign(x) * np.log1p(self.mu * size) / np.log1p(self.mu)

    def expand(self, y: Any) -> np.ndarray:
        """The inverse, ``sign(y) limit ((1 + mu)^|y| - 1) / mu``, of any shape, float64."""
        y = np.asarray(y, np.float64)
        return np.sign(y) * self.limit * np.expm1(np.abs(y) * np.log1p(self.mu)) / self.mu
