from __future__ import annotations

import numpy as np
import pytest
import torch

from world_model import two_hot
from world_model.errors import DataError


def test_few_values_are_their_own_support() -> None:
    assert two_hot.support_of(np.array([4, 4, -1, 0.5, 4])) == (-1.0, 0.5, 4.0)


def test_many_values_are_spanned_densely_near_zero() -> None:
    support = np.array(two_hot.support_of(np.linspace(-1000, 10, 5000), bins=31))
    assert len(support) == 31
    np.testing.assert_allclose(support[[0, -1]], [-1000, 10])
    gaps = np.diff(support)
    assert (gaps > 0).all()
    assert gaps[0] > 20 * gaps.min()


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_unusable_values_are_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="finite"):
        two_hot.support_of(np.array(values))


def test_magnitudes_survive_the_round_trip() -> None:
    support = torch.tensor(two_hot.support_of(np.linspace(-50, 500, 999)))
    values = torch.tensor([-50.0, -3.21, 0.0, 0.001, 7.5, 499.9, 500.0])
    weights = two_hot.two_hot(values, support)
    torch.testing.assert_close(weights.sum(-1), torch.ones(7))
    assert ((weights > 0).sum(-1) <= 2).all()
    torch.testing.assert_close((weights * support).sum(-1), values, rtol=1e-5, atol=1e-4)
    # Outside the support the nearest end stands in.
    assert two_hot.two_hot(torch.tensor([900.0]), support)[0, -1] == 1


def test_single_point() -> None:
    support = torch.tensor([4.0])
    scores = two_hot.two_hot(torch.tensor([4.0, 1.0]), support)
    assert scores.tolist() == [[1.0], [1.0]]
    assert two_hot.expectation(torch.randn(2, 1), support).tolist() == [4.0, 4.0]


def test_sample_inverts_the_cumulative_distribution() -> None:
    support = torch.tensor([-1.0, 0.0, 5.0])
    logits = torch.tensor([0.2, 0.5, 0.3]).log()
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 0.9999999])
    drawn = two_hot.sample(logits.expand(6, 3), support, uniform)
    assert drawn.tolist() == [-1.0, -1.0, 0.0, 0.0, 5.0, 5.0]
    assert two_hot.mode(logits, support) == 0
    torch.testing.assert_close(two_hot.expectation(logits, support), torch.tensor(1.3))
