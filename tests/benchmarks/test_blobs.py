import numpy as np
import pytest

from benchmarks.blobs import grow, label_blobs, match_blobs


def flood_fill(mask):
    """The definition, one pixel after the other."""
    numbers, count = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if numbers[start]:
            continue
        count += 1
        waiting = [start]
        while waiting:
            n, y, x = waiting.pop()
            inside = 0 <= y < mask.shape[1] and 0 <= x < mask.shape[2]
            if not inside or not mask[n, y, x] or numbers[n, y, x]:
                continue
            numbers[n, y, x] = count
            waiting += [(n, y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return numbers, count


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5, 0.9])
def test_labels_equal_a_flood_fill(density):
    mask = np.random.default_rng(0).random((6, 12, 15)) < density
    ours, count = label_blobs(mask)
    theirs, expected = flood_fill(mask)
    assert count == expected
    pairs = np.unique(np.stack([ours[mask], theirs[mask]]), axis=1)
    assert pairs.shape[1] == count, "the same groups, whatever their numbers"
    assert (ours[~mask] == 0).all()


def test_nothing_at_all():
    empty = np.zeros((2, 5, 5), bool)
    assert label_blobs(empty)[1] == 0
    matches = match_blobs(empty, empty)
    assert matches.matched.tolist() == matches.found.tolist() == matches.true.tolist() == [0, 0]


def square(y, x, size=2):
    mask = np.zeros((1, 20, 20), bool)
    mask[0, y : y + size, x : x + size] = True
    return mask


def test_matching_forgives_one_pixel_but_not_three():
    true = square(5, 5)
    assert match_blobs(square(5, 7), true).matched.tolist() == [1]  # touches, does not overlap
    assert match_blobs(square(5, 9), true).matched.tolist() == [0]


def test_a_blob_is_matched_once():
    one = square(5, 5, 6)
    two = square(5, 5) | square(9, 9)
    matches = match_blobs(two, one)
    assert (matches.matched[0], matches.found[0], matches.true[0]) == (1, 2, 1)
    matches = match_blobs(one, two)
    assert (matches.matched[0], matches.found[0], matches.true[0]) == (1, 1, 2)


def test_pictures_are_apart():
    mask = np.concatenate([square(1, 1), square(1, 1) | square(9, 9), square(14, 4)])
    matches = match_blobs(mask, mask[::-1].copy())
    assert matches.matched.tolist() == [0, 2, 0]
    assert matches.found.tolist() == [1, 2, 1]


def test_grow_reaches_as_far_as_told():
    mask = np.zeros((1, 9, 9), int)
    mask[0, 4, 4] = 3
    assert (grow(mask, 2) == 3).sum() == 25
    assert (grow(mask, 0) == mask).all()
