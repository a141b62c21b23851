from __future__ import annotations

import numpy as np
import pytest

from nfd_env.trust import TrustLimits

NAN = float("nan")


def test_reasons():
    limits = TrustLimits(max_episode_steps=10, max_uncertainty=0.5)
    truncated, reasons = limits.truncations(
        np.array([9, 10, 9, 10, 3]), np.array([0.5, 0.1, 0.51, 0.9, NAN])
    )
    assert truncated.tolist() == [False, True, True, True, True]
    assert reasons.tolist() == [None, "horizon", "uncertainty", "uncertainty", "uncertainty"]


def test_without_limits_nothing_is_cut_off():
    truncated, reasons = TrustLimits().truncations(np.array([10**9]), np.array([NAN]))
    assert not truncated.any()
    assert reasons.tolist() == [None]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_episode_steps": 0},
        {"max_episode_steps": 2.5},
        {"max_uncertainty": -0.1},
        {"max_uncertainty": NAN},
    ],
)
def test_senseless_limits_are_refused(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        TrustLimits(**limits)
