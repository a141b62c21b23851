"""Moves the previous frame's pixels to where they will be: predicted linear filters.

Where frames change mostly because the camera or things move, most of the next frame is the
previous one, shifted. The network predicts, for every small block of pixels, one weight per
displacement, and adds the displaced copies of the previous frame so weighted to its output
(dynamic filters: Jia et al. 2016, arXiv 1605.09673; Finn et al. 2016, arXiv 1605.07157). What the
filters cannot explain remains to the ordinary output. With all weights zero nothing changes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 4
"""Side, in pixels, of the blocks that share a filter."""
SQUARE = 2
"""Displacements of up to this many pixels are available in both directions at once."""


def displacements(rows: int, columns: int) -> list[tuple[int, int]]:
    """(row, column) displacements in pixels: a cross with the given arms, and a small square.

    >>> len(displacements(2, 8))
    37
    """
    arms = {(0, x) for x in range(-columns, columns + 1)}
    arms |= {(y, 0) for y in range(-rows, rows + 1)}
    height, width = min(SQUARE, rows), min(SQUARE, columns)
    square = {(y, x) for y in range(-height, height + 1) for x in range(-width, width + 1)}
    return sorted(arms | square)


def transport(images: Tensor, weights: Tensor, offsets: list[tuple[int, int]]) -> Tensor:
    """Sum of displaced copies of the images, weighted block by block.

    Args:
        images: float (B, C, H, W); beyond the edge the edge repeats.
        weights: float (B, H / BLOCK, W / BLOCK, K), one weight per displacement.
        offsets: the K displacements: (1, 0) brings to a pixel what lies one row below it.

    Returns:
        float (B, C, H, W).
    """
    height, width = images.shape[-2:]
    reach_y = max(abs(y) for y, _ in offsets)
    reach_x = max(abs(x) for _, x in offsets)
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y), mode="replicate")
    copies = torch.stack(
        [
            padded[:, :, reach_y + y : reach_y + y + height, reach_x + x : reach_x + x + width]
            for y, x in offsets
        ],
        dim=1,
    )  # (B, K, C, H, W)
    blocks = copies.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK))
    by_block = weights.permute(0, 3, 1, 2)[:, :, None, :, None, :, None]  # (B, K, 1, h, 1, w, 1)
    return (blocks * by_block).sum(dim=1).flatten(-4, -3).flatten(-2)
