from __future__ import annotations

import numpy as np
import pytest

from benchmarks.frechet import FeatureSpace, frechet_distance
from tests.world_model.tiny import tiny_world


def test_the_distance_of_normal_distributions_has_a_closed_form():
    """With one common eigenbasis: squared distance of means, and of standard deviations."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    spread, other = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5])
    a = rng.normal(size=(200_000, 3)) * spread @ turn
    b = rng.normal(size=(200_000, 3)) * other @ turn + np.array([1.0, 0.0, 2.0])
    assert frechet_distance(a, b) == pytest.approx(5 + ((spread - other) ** 2).sum(), rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frames_that_look_alike_are_near():
    world = tiny_world()
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (400, 16, 16, 3), dtype=np.uint8)
    space = FeatureSpace.of(world.outcome, frames, 8)
    assert space.project(frames).shape == (400, 8)
    same = rng.integers(0, 256, (400, 16, 16, 3), dtype=np.uint8)
    darker = same // 2
    real, near, far = (space.project(x) for x in (frames, same, darker))
    assert frechet_distance(real, near) < 0.2 * frechet_distance(real, far)
