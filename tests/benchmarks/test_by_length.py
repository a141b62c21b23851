from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.by_length import KEPT, by_length, steps_to_keep, stretches
from benchmarks.stability_report import length_table


@pytest.mark.parametrize("steps", [40, 100, 120, 160, 1_000, 1_499, 1_500, 20_000])
def test_stretches_cover_every_step_once(steps):
    cut = stretches(steps)
    assert [step for first, last in cut for step in range(first, last + 1)] == list(
        range(1, steps + 1)
    )
    kept = steps_to_keep(steps)
    for first, last in cut:
        inside = [step for step in kept if first <= step <= last]
        assert len(inside) == min(KEPT, last - first + 1)


def test_a_rest_is_a_stretch_if_it_is_long():
    assert stretches(1_499)[-1] == (101, 1_499)
    assert stretches(1_500)[-1] == (1_001, 1_500)


def test_an_episode_that_fades_and_slows_down_is_seen():
    rng = np.random.default_rng(0)
    steps, lively = 1_000, rng.integers(0, 256, (300, 8, 8, 3)).astype(np.uint8)
    statistics = np.full((steps, 1), 127.0)
    statistics[550:] = 5.0
    seconds = np.full(steps, 0.01)
    seconds[100:] = 0.1
    frames = {s: lively[s % 200] // (1 if s <= 550 else 50) for s in steps_to_keep(steps)}
    space = SimpleNamespace(project=lambda x: x.reshape(len(x), -1)[:, :8].astype(float) / 255)
    usual = (np.array([100.0]), np.array([150.0]))
    first, second = by_length(statistics, seconds, frames, usual, lively[200:], space)
    assert (first["first"], first["last"], second["last"]) == (1, 100, 1_000)
    assert first["frames_per_second"] == pytest.approx(100)
    assert second["frames_per_second"] == pytest.approx(10)
    assert first["share_in_usual_range"] == 1.0
    assert second["share_in_usual_range"] == pytest.approx(0.5)
    assert second["frechet"] > 5 * first["frechet"]
    assert length_table([first, second]).row_count == 2


def test_without_an_outcome_model_nothing_is_compared():
    statistics, seconds = np.zeros((50, 1)), np.ones(50)
    (row,) = by_length(statistics, seconds, {}, (np.zeros(1), np.ones(1)))
    assert row["frechet"] is None
    assert length_table([row]).row_count == 1
