from __future__ import annotations

import numpy as np
import pytest

from world_model.errors import DataError
from world_model.outcome_metrics import binary_metrics


def test_by_hand() -> None:
    scores = binary_metrics(np.array([0.9, 0.6, 0.2, 0.1]), np.array([1, 0, 1, 0]))
    assert (scores.count, scores.positives) == (4, 2)
    assert scores.nll == pytest.approx(-np.log([0.9, 0.4, 0.2, 0.9]).mean())
    assert scores.nll_base == pytest.approx(np.log(2))
    assert scores.brier == pytest.approx((0.01 + 0.36 + 0.64 + 0.01) / 4)
    assert scores.brier_base == 0.25
    assert scores.auroc == 0.75  # three of four pairs in order
    assert scores.f1 == pytest.approx(0.8)  # the three highest: 2 hits, 1 false alarm
    assert scores.threshold == 0.2


def test_ties_count_half_and_are_no_threshold() -> None:
    scores = binary_metrics(np.full(10, 0.3), np.arange(10) < 3)
    assert scores.auroc == 0.5
    assert scores.f1 == pytest.approx(2 * 3 / 13)  # all or nothing
    assert scores.ece == pytest.approx(0.0)
    assert scores.nll == pytest.approx(scores.nll_base)


def test_calibration_error_sees_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.uniform(0, 0.3, 50_000)
    happened = rng.random(50_000) < honest
    good, bad = binary_metrics(honest, happened), binary_metrics(honest * 2, happened)
    assert good.ece < 0.01
    assert bad.ece == pytest.approx(0.15, abs=0.01)
    assert bad.nll > good.nll
    assert bad.auroc == good.auroc


@pytest.mark.parametrize("happened", [np.zeros(5), np.ones(5)])
def test_one_kind_cannot_be_scored(happened: np.ndarray) -> None:
    with pytest.raises(DataError, match="both kinds"):
        binary_metrics(np.full(5, 0.5), happened)
