"""What one visitor may ask of the server, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass

from world_model.errors import NFDError

MEGABYTE = 2**20


class RequestError(NFDError):
    """A visitor asked for something that is not possible; the message is for them."""


class FullError(RequestError):
    """There is no room for another visitor."""


@dataclass(frozen=True)
class Limits:
    """Bounds of what visitors may use."""

    visitors: int = 8
    """Visitors at a time; each has a stream of the batch."""
    session_minutes: float = 120.0
    """A session ends after so long."""
    idle_minutes: float = 15.0
    """A session ends after so long without a message."""
    away_seconds: float = 60.0
    """Where all places are taken: so long after its page was closed, a session makes room."""
    timeline_mb: float = 32.0
    """Memory for the pictures of one visitor's timeline, in MiB: those that were shown longest ago
    are dropped to stay within, and imagined again when they are asked for."""
    snapshot_mb: float = 32.0
    """Memory for the snapshots of one visitor's timeline, in MiB: thinned to stay within."""
    moments: int = 150_000
    """Moments of one visitor's timeline; the oldest lines make room for new ones."""
    way_steps: int = 2000
    """Steps that are imagined again to go back to a moment, at most."""
    message_kb: float = 64.0
    """Largest message, in KiB."""
    upload_mb: float = 8.0
    """Largest upload of frames to start from, in MiB, all of them together."""
    messages_per_second: float = 240.0
    """Messages of one visitor, on average; twice as many in a burst."""
    path_steps: int = 20_000
    """Steps of the longest path that can be replayed."""
    sampling_steps: int = 8
    """Denoising steps a frame that a visitor may choose, besides the server's and the world's own:
    every one of them costs about as much again."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise RequestError(f"{name}={value}: expected a number above 0.")


class Bucket:
    """A token bucket: how often something may happen.

    Args:
        rate: times a second on average.
        burst: times at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._left, self._at = burst, time.monotonic()

    def take(self) -> bool:
        """Whether it may happen once more now."""
        now = time.monotonic()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
