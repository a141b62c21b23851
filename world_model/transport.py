"""Moves the previous frame's pixels to where they will be: predicted linear filters.

Where frames change mostly because the camera or things move, most of the next frame is the
previous one, shifted. The network predicts, for every small block of pixels, one weight per
displacement, and adds the change that these displacements bring to its output
(dynamic filters: Jia et al. 2016, arXiv 1605.09673; Finn et al. 2016, arXiv 1605.07157). What the
filters cannot explain remains to the ordinary output. With all weights zero nothing changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 4
"""Side, in pixels, of the blocks that share a filter."""
SQUARE = 2
"""Displacements of up to this many pixels are available in both directions at once."""


def displacements(rows: int, columns: int, diagonal: int = SQUARE) -> list[tuple[int, int]]:
    """(row, column) displacements in pixels: a cross with the given arms, and a small square.

    >>> len(displacements(1, 6))
    22
    >>> len(displacements(3, 4, 3))  # where small things fly in any direction
    50
    """
    arms = {(0, x) for x in range(-columns, columns + 1)}
    arms |= {(y, 0) for y in range(-rows, rows + 1)}
    height, width = min(diagonal, rows), min(diagonal, columns)
    square = {(y, x) for y in range(-height, height + 1) for x in range(-width, width + 1)}
    return sorted((arms | square) - {(0, 0)})


def transport(images: Tensor, weights: Tensor, offsets: list[tuple[int, int]]) -> Tensor:
    """The change that displacing the images brings: ``sum_k w_k (displaced_k - images)``.

    Differences, not the copies themselves: where an image is even they vanish, so the weights
    of neighbouring displacements do not have to cancel each other there, and training is well
    conditioned.

    Args:
        images: float (B, C, H, W); beyond the edge the edge repeats.
        weights: float (B, H / BLOCK, W / BLOCK, K), one weight per displacement.
        offsets: the K displacements: (1, 0) brings to a pixel what lies one row below it.

    Returns:
        float (B, C, H, W). A single weight of one makes ``images + transport(...)`` the shifted
        image.
    """
    height, width = images.shape[-2:]
    reach_y = max(abs(y) for y, _ in offsets)
    reach_x = max(abs(x) for _, x in offsets)
    padded = _with_edges(images, reach_y, reach_x)
    # One weight per pixel, copied once: products that broadcast over blocks of four are slow. So is
    # copying in both directions at once.
    by_block = weights.permute(3, 0, 1, 2)  # (K, B, h, w)
    wide = by_block[..., None].expand(*by_block.shape, BLOCK).flatten(-2)  # (K, B, h, W)
    rows = wide[:, :, None, :, None].expand(-1, -1, -1, -1, BLOCK, -1)
    by_pixel = rows.flatten(3, 4)  # (K, B, 1, H, W)
    change: Tensor | None = None
    for weight, (y, x) in zip(by_pixel, offsets, strict=True):
        top, left = reach_y + y, reach_x + x
        difference = padded[:, :, top : top + height, left : left + width] - images
        change = weight * difference if change is None else change.addcmul_(weight, difference)
    assert change is not None
    return change


def _with_edges(images: Tensor, rows: int, columns: int) -> Tensor:
    """Images (B, C, H, W) with their edges repeated outwards.

    As ``F.pad(..., mode="replicate")``, whose indexing torch 2.13's CPU compiler fails on.
    """
    top, bottom = (x.expand(-1, -1, rows, -1) for x in (images[:, :, :1], images[:, :, -1:]))
    images = torch.cat([top, images, bottom], dim=2)
    left, right = (x.expand(-1, -1, -1, columns) for x in (images[..., :1], images[..., -1:]))
    return torch.cat([left, images, right], dim=3)
