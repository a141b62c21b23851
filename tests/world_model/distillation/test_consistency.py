"""Discrete consistency distillation where the answer is known."""

from __future__ import annotations

import pytest

from tests.world_model.distillation.gaussian import (
    FLOW,
    MEAN,
    STD,
    TEACHER,
    batch,
    conditions,
    data,
    distil,
    posterior_mean,
    pupil,
    right_student,
)
from world_model.distillation.consistency import ConsistencyConfig, DiscreteConsistency


def make(**settings) -> DiscreteConsistency:
    return DiscreteConsistency(FLOW, posterior_mean, TEACHER, ConsistencyConfig(**settings))


def loss_of(student, latents=None, **settings) -> float:
    latents = data(4000, 0) if latents is None else latents
    given = conditions(latents)
    return make(**settings).loss(student, student, batch(latents, 0, 1), given).item()


def test_the_right_answer_has_almost_no_loss_and_less_on_a_finer_grid():
    coarse, fine = (loss_of(right_student, levels=n) for n in (8, 96))
    wrong = loss_of(posterior_mean, levels=8)
    assert fine < 0.1 * coarse
    assert coarse < 0.5 * wrong


@pytest.mark.slow
def test_one_step_learns_the_whole_distribution():
    student, method = pupil(), make(levels=24)
    made = distil(student, method, 2e-3)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert made.std().item() == pytest.approx(STD, rel=0.2)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="levels must be at least 2"):
        ConsistencyConfig(levels=1)
