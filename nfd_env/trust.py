"""How far an imagined episode is trusted: where it is cut off, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrustLimits:
    """Limits beyond which an imagined episode is truncated.

    An agent that trains in a learned world finds what the world gets wrong. Short episodes, and
    none that go on where the world itself is unsure, leave it less to exploit.
    """

    max_episode_steps: int | None = None
    """Truncate an episode after so many steps; None: no such limit."""
    max_uncertainty: float | None = None
    """Truncate an episode when a step's uncertainty exceeds this; None: no such limit."""

    def __post_init__(self) -> None:
        steps, uncertainty = self.max_episode_steps, self.max_uncertainty
        if steps is not None and (int(steps) != steps or steps < 1):
            raise ValueError(f"max_episode_steps={steps!r}: expected a whole number of at least 1.")
        if uncertainty is not None and not uncertainty >= 0:
            raise ValueError(f"max_uncertainty={uncertainty!r}: expected a number of at least 0.")

    def truncations(
        self, steps: np.ndarray, uncertainty: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which streams are cut off now.

        Args:
            steps: int64 (B,), steps since the episode's start, the present one included.
            uncertainty: float (B,), the present step's.

        Returns:
            ``(truncated, reasons)``: bool (B,), and object (B,) that holds ``"uncertainty"`` or
            ``"horizon"`` where truncated and None elsewhere. Uncertainty is named first.
        """
        reasons = np.full(len(steps), None, dtype=object)
        truncated = np.zeros(len(steps), np.bool_)
        if self.max_episode_steps is not None:
            truncated |= steps >= self.max_episode_steps
            reasons[truncated] = "horizon"
        if self.max_uncertainty is not None:
            # Written so that NaN, the least certain of all, is beyond every limit.
            unsure = ~(uncertainty <= self.max_uncertainty)
            reasons[unsure] = "uncertainty"
            truncated |= unsure
        return truncated, reasons
