"""Shows imagined frames: tiled into one picture, or in a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled

WINDOW_PIXELS = 512


def tile(frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Lays ``B`` frames uint8 (H, W, 3) out on a grid as near to square as it gets.

    >>> tile(np.zeros((5, 4, 6, 3), np.uint8)).shape
    (12, 12, 3)
    """
    batch = np.asarray(frames)
    count, height, width, channels = batch.shape
    rows = int(np.ceil(np.sqrt(count)))
    columns = int(np.ceil(count / rows))
    grid = np.zeros((rows * columns, height, width, channels), np.uint8)
    grid[:count] = batch
    grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


class Window:
    """A window that shows frames at a steady pace; opens with the first one.

    Args:
        title: text in its title bar.
        fps: frames per second; ``show`` waits to keep it.
    """

    def __init__(self, title: str, fps: float) -> None:
        self.title = title
        self.fps = fps
        self._pygame: Any = None
        self._screen: Any = None
        self._clock: Any = None

    def show(self, frame: np.ndarray) -> None:
        """Shows uint8 (H, W, 3), enlarged by a whole factor.

        Raises:
            DependencyNotInstalled: without pygame.
        """
        pygame = self._load()
        height, width, _ = frame.shape
        scale = max(1, round(WINDOW_PIXELS / max(height, width)))
        size = (width * scale, height * scale)
        if self._screen is None or self._screen.get_size() != size:
            self._screen = pygame.display.set_mode(size)
            pygame.display.set_caption(self.title)
        enlarged = frame.repeat(scale, axis=0).repeat(scale, axis=1)
        pygame.surfarray.blit_array(self._screen, enlarged.swapaxes(0, 1))
        pygame.event.pump()  # or the window system takes the window for hung
        pygame.display.flip()
        self._clock.tick(self.fps)

    def close(self) -> None:
        """Closes the window; closing twice is fine."""
        if self._screen is not None:
            self._pygame.display.quit()
        self._screen = None

    def _load(self) -> Any:
        if self._pygame is None:
            try:
                import pygame
            except ImportError as error:
                raise DependencyNotInstalled(
                    "render_mode='human' needs pygame-ce, which is not installed: "
                    'pip install "nfd-world[play]"'
                ) from error
            self._pygame = pygame
        if self._screen is None:
            self._pygame.display.init()
            self._clock = self._pygame.time.Clock()
        return self._pygame
