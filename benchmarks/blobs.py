"""Connected groups of pixels, and which of two sets of them belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def label_blobs(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers the 8-connected groups of True pixels.

    Args:
        mask: bool (N, h, w).

    Returns:
        int64 (N, h, w), 0 for background and 1, 2, ... through all pictures; and how many.

    >>> label_blobs(np.array([[[1, 0, 0, 1], [0, 1, 0, 1]]], bool))[0].tolist()
    [[[1, 0, 0, 2], [0, 1, 0, 2]]]
    """
    height, width = mask.shape[1:]
    flat = np.flatnonzero(mask)
    numbered = np.full(mask.size, -1)
    numbered[flat] = np.arange(len(flat))
    place = numbered.reshape(mask.shape)
    edges = []
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        one = place[:, : height - down, max(0, -right) : width - max(0, right)]
        other = place[:, down:, max(0, right) : width + min(0, right)]
        joined = (one >= 0) & (other >= 0)
        edges.append(np.stack([one[joined], other[joined]]))
    a, b = np.concatenate(edges, axis=1)
    root = np.arange(len(flat))
    while (root[a] != root[b]).any():  # each round hands the smallest number on, then shortcuts
        low = np.minimum(root[a], root[b])
        np.minimum.at(root, root[a], low)
        np.minimum.at(root, root[b], low)
        while (root[root] != root).any():
            root = root[root]
    names, inverse = np.unique(root, return_inverse=True)
    numbers = np.zeros(mask.size, np.int64)
    numbers[flat] = inverse + 1
    return numbers.reshape(mask.shape), len(names)


@dataclass(frozen=True)
class Matches:
    """Blobs found and blobs there, picture by picture."""

    matched: np.ndarray
    """int64 (N,), pairs; no blob is in two of them."""
    found: np.ndarray
    """int64 (N,), blobs in the picture that is judged."""
    true: np.ndarray
    """int64 (N,), blobs in the picture that it is judged by."""


def match_blobs(found: np.ndarray, true: np.ndarray, reach: int = 1) -> Matches:
    """Pairs up the blobs of two masks, largest overlap first, one with one.

    Args:
        found: bool (N, h, w).
        true: bool (N, h, w).
        reach: pixels by which blobs may miss each other.
    """
    count = len(found)
    ours, our_count = label_blobs(found)
    theirs, their_count = label_blobs(true)
    matched = np.zeros(count, np.int64)
    near = grow(theirs, reach)
    both = (ours > 0) & (near > 0)
    pairs, overlap = np.unique(np.stack([ours[both], near[both]]), axis=1, return_counts=True)
    picture = _pictures(ours, our_count)
    taken_ours, taken_theirs = np.zeros(our_count + 1, bool), np.zeros(their_count + 1, bool)
    for k in np.argsort(-overlap, kind="stable"):
        a, b = pairs[:, k]
        if not taken_ours[a] and not taken_theirs[b]:
            taken_ours[a] = taken_theirs[b] = True
            matched[picture[a]] += 1
    return Matches(
        matched,
        np.bincount(picture[1:], minlength=count),
        np.bincount(_pictures(theirs, their_count)[1:], minlength=count),
    )


def grow(numbers: np.ndarray, reach: int) -> np.ndarray:
    """Every pixel takes the highest of the numbers (N, h, w) within ``reach`` of it."""
    for axis in (1, 2):
        grown = numbers.copy()
        for shift in range(1, reach + 1):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            for to, origin in ((ahead, behind), (behind, ahead)):
                part = grown[tuple(to)]
                np.maximum(part, numbers[tuple(origin)], out=part)
        numbers = grown
    return numbers


def _pictures(numbers: np.ndarray, count: int) -> np.ndarray:
    """int64 (count + 1,), the picture that each blob is in; entry 0 means nothing."""
    picture = np.zeros(count + 1, np.int64)
    where = np.nonzero(numbers)
    picture[numbers[where]] = where[0]
    return picture
