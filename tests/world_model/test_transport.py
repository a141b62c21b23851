"""Filters displace what they say, block by block."""

import torch

from world_model.transport import BLOCK, displacements, transport


def one_hot(offsets, offset, batch=1, height=2, width=3):
    weights = torch.zeros(batch, height, width, len(offsets))
    weights[..., offsets.index(offset)] = 1
    return weights


def test_displacements_are_a_cross_and_a_square():
    found = displacements(1, 4)
    assert (0, 4) in found
    assert (1, 0) in found
    assert (1, 2) in found
    assert (1, 3) not in found
    assert len(set(found)) == len(found) == 9 + 10 - 1
    assert (2, 3) not in displacements(3, 6)
    wide = displacements(3, 6, 3)
    assert {(y, x) for y in range(-3, 4) for x in range(-3, 4)} - {(0, 0)} < set(wide)
    assert (1, 4) not in wide
    assert len(set(wide)) == len(wide) == 48 + 6


def test_a_single_weight_shifts_the_image():
    images = torch.randn(1, 3, 8, 12)
    offsets = displacements(2, 3)
    moved = images + transport(images, one_hot(offsets, (0, 3)), offsets)
    torch.testing.assert_close(moved[..., :-3], images[..., 3:])
    edge = images[..., -1:].expand(-1, -1, -1, 3)  # repeats
    torch.testing.assert_close(moved[..., -3:], edge)
    moved = images + transport(images, one_hot(offsets, (-2, 0)), offsets)
    torch.testing.assert_close(moved[:, :, 2:], images[:, :, :-2])


def test_every_block_has_its_own_filter():
    images = torch.randn(2, 3, 8, 12)
    offsets = displacements(1, 1)
    weights = torch.randn(2, 2, 3, len(offsets))
    moved = images + transport(images, weights, offsets)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    for y in range(8):
        for x in range(12):
            here = images[:, :, y, x]
            expected = here + sum(
                weights[:, y // BLOCK, x // BLOCK, k, None]
                * (padded[:, :, y + 1 + dy, x + 1 + dx] - here)
                for k, (dy, dx) in enumerate(offsets)
            )
            torch.testing.assert_close(moved[:, :, y, x], expected)


def test_an_even_image_never_changes():
    images = torch.full((1, 3, 8, 8), 0.7)
    offsets = displacements(2, 2)
    assert torch.equal(transport(images, torch.randn(1, 2, 2, len(offsets)), offsets), images * 0)
