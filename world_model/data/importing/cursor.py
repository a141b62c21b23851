"""The mouse pointer, which recordings of Minecraft lack: drawn in where a screen of it is open."""

from __future__ import annotations

import numpy as np

RECORDED_HEIGHT = 720
"""Height in pixels of the window that the pointer's position was recorded in."""
SPRITE_HEIGHT = 360
"""Height of the frames for which the arrow below is of the right size."""
ARROW = """
#...........
##..........
#o#.........
#oo#........
#ooo#.......
#oooo#......
#ooooo#.....
#oooooo#....
#ooooooo#...
#oooooooo#..
#ooooo#####.
#oo#oo#.....
#o#.#oo#....
##..#oo#....
.....#oo#...
.....###....
"""
"""``o`` is white, ``#`` black, ``.`` lets the picture through; the tip is the first pixel."""

_ROWS = np.array([list(line) for line in ARROW.split()])


def draw_cursor(frame: np.ndarray, x: float, y: float) -> None:
    """Draws an arrow into ``frame`` uint8 (H, W, 3), in place.

    Args:
        frame: the picture.
        x: column of its tip in the window of 720 rows that was recorded.
        y: row of its tip.
    """
    height, width = frame.shape[:2]
    scale = height / RECORDED_HEIGHT
    left, top = int(x * scale), int(y * scale)
    rows = max(1, round(_ROWS.shape[0] * height / SPRITE_HEIGHT))
    columns = max(1, round(_ROWS.shape[1] * height / SPRITE_HEIGHT))
    picked = np.arange(rows)[:, None] * _ROWS.shape[0] // rows
    arrow = _ROWS[picked, np.arange(columns) * _ROWS.shape[1] // columns]
    # What sticks out on any side is cut off.
    y0, y1 = max(0, top), min(height, top + rows)
    x0, x1 = max(0, left), min(width, left + columns)
    if y0 >= y1 or x0 >= x1:
        return
    arrow = arrow[y0 - top : y1 - top, x0 - left : x1 - left]
    region = frame[y0:y1, x0:x1]
    region[arrow == "#"] = 0
    region[arrow == "o"] = 255
