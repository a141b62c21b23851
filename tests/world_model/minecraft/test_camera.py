"""Camera bins against the values that VPT and MineWorld publish."""

from __future__ import annotations

import numpy as np
import pytest

from world_model.minecraft.camera import MINEWORLD_CAMERA, VPT_CAMERA, CameraBins

KNOWN = [
    (VPT_CAMERA, [0, 0.615, 1.61, 3.22, 5.81, 10]),
    (MINEWORLD_CAMERA, [0, 2.25, 5.15, 8.87, 13.67, 19.85, 27.80, 38.04, 51.21, 68.17, 90]),
]
BOTH = pytest.mark.parametrize("bins", [VPT_CAMERA, MINEWORLD_CAMERA], ids=["vpt", "mineworld"])


@pytest.mark.parametrize(("bins", "known"), KNOWN, ids=["vpt", "mineworld"])
def test_published_centres(bins, known):
    assert bins.count == 2 * len(known) - 1
    np.testing.assert_allclose(bins.centres[bins.middle :], known, atol=0.006)
    np.testing.assert_array_equal(bins.centres, -bins.centres[::-1])
    assert bins.centres[bins.middle] == 0


@BOTH
def test_monotonic_symmetric_idempotent(bins):
    degrees = np.linspace(-2 * bins.limit, 2 * bins.limit, 4001)
    found = bins.quantise(degrees)
    assert set(np.diff(found)) == {0, 1}
    assert (found.min(), found.max()) == (0, bins.count - 1)
    np.testing.assert_array_equal(bins.quantise(-degrees), bins.count - 1 - found)
    np.testing.assert_array_equal(bins.quantise(bins.undo(found)), found)
    # Also of centres that went through float32, as encoded actions do.
    rounded = bins.centres.astype(np.float32)
    np.testing.assert_array_equal(bins.quantise(rounded), np.arange(bins.count))


@BOTH
def test_the_nearest_bin_is_nearest_after_companding(bins):
    degrees = np.random.default_rng(0).uniform(-bins.limit, bins.limit, (50, 2))
    compress = bins.curve.compress
    apart = np.abs(compress(degrees)[..., None] - compress(bins.centres))
    np.testing.assert_array_equal(bins.quantise(degrees), apart.argmin(axis=-1))


def test_small_movements_are_not_cut_to_whole_degrees():
    moved = VPT_CAMERA.undo(VPT_CAMERA.quantise([0.6, -0.6]))
    np.testing.assert_allclose(moved, [0.615, -0.615], atol=1e-3)


@pytest.mark.parametrize("numbers", [(10, 10, 3), (10, 10, 0), (10, 10, 20)])
def test_bins_without_a_middle_are_refused(numbers):
    with pytest.raises(ValueError, match="whole multiple"):
        CameraBins(*numbers)
