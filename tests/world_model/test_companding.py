"""The mu-law: its values, its inverse, its symmetry."""

from __future__ import annotations

import numpy as np
import pytest

from world_model.companding import Companding

CURVES = [Companding(10.0, 10.0), Companding(90.0, 11.4887), Companding(180.0, 180.0)]


def test_values_worked_out_by_hand():
    curve = Companding(limit=3.0, mu=3.0)  # log2(1 + |x|) / 2
    np.testing.assert_allclose(curve.compress([0, 1, -1, 3, -3, 7]), [0, 0.5, -0.5, 1, -1, 1])
    np.testing.assert_allclose(curve.expand([0, 0.5, -0.5, 1, -1]), [0, 1, -1, 3, -3])


@pytest.mark.parametrize("curve", CURVES)
def test_inverse_monotonic_symmetric(curve):
    x = np.linspace(-curve.limit, curve.limit, 1001)
    y = curve.compress(x)
    np.testing.assert_allclose(curve.expand(y), x, rtol=1e-9, atol=1e-12)
    assert (np.diff(y) > 0).all()
    np.testing.assert_array_equal(curve.compress(-x), -y)
    np.testing.assert_array_equal(curve.expand(-y), -curve.expand(y))


@pytest.mark.parametrize("numbers", [(0.0, 1.0), (1.0, -1.0), (np.inf, 1.0), (1.0, np.nan)])
def test_curves_that_are_none_are_refused(numbers):
    with pytest.raises(ValueError, match="finite and above 0"):
        Companding(*numbers)
