"""Rotated dot products depend on differences of positions, however far the frames have run."""

from __future__ import annotations

import pytest
import torch

from world_model.rope import (
    frequencies,
    rotate,
    rotation,
    spatial_angles,
    split_head_dim,
    time_frequencies,
    turns,
)

GRID, DIM, THETA = (3, 4), 64, 256.0  # 64: four frequencies in time, not just 1


def rotated(x, frame):
    """x (N, d) as the tokens of one frame."""
    index = torch.tensor([[frame]])
    spatial = turns(spatial_angles(GRID, DIM, THETA))
    cos, sin = rotation(index, spatial, time_frequencies(DIM, THETA))
    return rotate(x[None, None, :, None], cos, sin)[0, 0, :, 0]


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, GRID[0] * GRID[1], DIM, generator=generator)


def test_split_of_a_head():
    assert split_head_dim(64) == (8, 28, 28)
    for dim in range(2, 200, 2):
        parts = split_head_dim(dim)
        assert sum(parts) == dim
        assert all(part % 2 == 0 for part in parts)
        assert parts[0] >= 2


def test_frequencies_fall_from_one():
    f = frequencies(8, THETA)
    assert f.dtype == torch.float64
    torch.testing.assert_close(f, THETA ** -torch.tensor([0, 0.25, 0.5, 0.75]).double())


@pytest.mark.parametrize("start", [0, 1000, 10**7, 10**9])
def test_only_the_distance_in_time_counts(pair, start):
    q, k = pair
    near = rotated(q, 5) @ rotated(k, 2).T
    far = rotated(q, start + 5) @ rotated(k, start + 2).T
    torch.testing.assert_close(far, near, atol=2e-5, rtol=0)
    other = rotated(q, start + 5) @ rotated(k, start + 3).T
    assert (other - near).abs().max() > 0.1


def test_only_the_distance_in_space_counts(pair):
    q, k = pair[0][0], pair[1][0]  # the same vectors at every token
    count = GRID[0] * GRID[1]
    scores = (rotated(q.expand(count, -1), 0) @ rotated(k.expand(count, -1), 0).T).tolist()
    by_offset: dict[tuple[int, int], float] = {}
    for i in range(count):
        for j in range(count):
            offset = (i // GRID[1] - j // GRID[1], i % GRID[1] - j % GRID[1])
            assert scores[i][j] == pytest.approx(
                by_offset.setdefault(offset, scores[i][j]), abs=1e-4
            )
    assert len({round(value, 3) for value in by_offset.values()}) == len(by_offset)


def test_rotation_keeps_lengths(pair):
    torch.testing.assert_close(rotated(pair[0], 12345).norm(dim=-1), pair[0].norm(dim=-1))


def test_rotation_is_the_definition():
    """Pairs (i, i + d/2) turn by time, then row, then column."""
    time, row, column = split_head_dim(DIM)
    x = torch.randn(GRID[0] * GRID[1], DIM)
    found = rotated(x, 7)
    token, where = 6, (1, 2)
    angles = torch.cat(
        [
            7 * frequencies(time, THETA),
            where[0] * frequencies(row, THETA),
            where[1] * frequencies(column, THETA),
        ]
    )
    for i, angle in enumerate(angles):
        turn = torch.polar(torch.ones(()), angle.float())
        expected = torch.complex(x[token, i], x[token, i + DIM // 2]) * turn
        torch.testing.assert_close(found[token, i], expected.real)
        torch.testing.assert_close(found[token, i + DIM // 2], expected.imag)


def test_each_stream_has_its_own_clock():
    spatial = turns(spatial_angles(GRID, DIM, THETA))
    rates = time_frequencies(DIM, THETA)
    cos, _ = rotation(torch.tensor([[0, 1], [50, 51]]), spatial, rates)
    assert cos.shape == (2, 2, 12, 1, DIM // 2)
    alone, _ = rotation(torch.tensor([[50, 51]]), spatial, rates)
    assert torch.equal(cos[1:], alone)
    assert cos.dtype == torch.float32
