"""Camera movements in mu-law bins: fine around zero, coarse for large turns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from world_model.companding import Companding


@dataclass(frozen=True)
class CameraBins:
    """Bins of one camera axis, symmetric around the one of no movement.

    With the mu-law curve ``F(x) = sign(x) log(1 + mu |x| / limit) / log(1 + mu)``, the bin of x
    degrees is ``round(limit F(x) / bin_size) + limit / bin_size``, and the centre of bin b is
    ``F^-1((b - limit / bin_size) bin_size / limit)``. Nearest thus means nearest after companding.

    Raises:
        ValueError: if ``limit`` is no whole multiple of ``bin_size``.
    """

    limit: float
    """Degrees of the outermost bins; larger movements count as these."""
    mu: float
    """Mu of the curve."""
    bin_size: float
    """Distance of the bins after companding, in the unit of ``limit``."""

    def __post_init__(self) -> None:
        steps = self.limit / self.bin_size if self.bin_size > 0 else 0.5
        if steps < 1 or steps != round(steps):
            raise ValueError(
                f"limit={self.limit} of the camera must be a whole multiple of "
                f"bin_size={self.bin_size}, so that no movement has a bin of its own."
            )

    @property
    def curve(self) -> Companding:
        """The mu-law."""
        return Companding(self.limit, self.mu)

    @property
    def middle(self) -> int:
        """The bin of no movement."""
        return round(self.limit / self.bin_size)

    @property
    def count(self) -> int:
        """Number of bins of an axis."""
        return 2 * self.middle + 1

    @cached_property
    def centres(self) -> np.ndarray:
        """float64 (count,): degrees of every bin."""
        return self.undo(np.arange(self.count))

    def quantise(self, degrees: Any) -> np.ndarray:
        """Degrees of any shape as bins, int64 in [0, count)."""
        # Rounded before the shift: exactly as far from the middle for x as for -x.
        companded = self.curve.compress(degrees) * self.limit / self.bin_size
        return np.round(companded).astype(np.int64) + self.middle

    def undo(self, bins: Any) -> np.ndarray:
        """Bins of any shape as the degrees of their centres, float64."""
        companded = (np.asarray(bins) - self.middle) * self.bin_size / self.limit
        return self.curve.expand(companded)


VPT_CAMERA = CameraBins(limit=10.0, mu=10.0, bin_size=2.0)
"""VPT's: 11 bins at 0, ±0.62, ±1.61, ±3.22, ±5.81 and ±10 degrees."""

MINEWORLD_CAMERA = CameraBins(limit=90.0, mu=11.4887, bin_size=9.0)
"""MineWorld's: 21 bins at 0, ±2.25, ±5.15, ±8.87, ±13.7, ..., ±68.2 and ±90 degrees."""
