from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clips import cut_clips
from benchmarks.frechet import FeatureSpace, frechet_distance, measure_frechet, spread_frames
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.data import open_store


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


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Clips of the sliding game, and the space of its outcome model."""
    store = open_store(sliding.make_dataset(tmp_path_factory.mktemp("data"), 400))
    clips = cut_clips(store, "validation", 80, 2, 10, seed=0)
    outcome = sliding.SlidingWorld(eye=True).outcome
    return clips, FeatureSpace.of(outcome, spread_frames(store), 8)


def test_frames_by_horizon(seen):
    clips, space = seen
    found = measure_frechet(space, clips, {"model": clips.frames, "last": clips.last_seen})
    assert list(found["distance"]) == ["1-4", "5-8", "9-10"]
    assert (found["directions"], found["weights"]) == (8, space.weights)
    for (first, last), row in zip(
        ((1, 4), (5, 8), (9, 10)), found["distance"].values(), strict=True
    ):
        assert row["model"]["n"] == clips.known[:, first - 1 : last].sum()
        assert row["model"]["estimate"] == pytest.approx(0, abs=1e-6)
        assert row["model"]["low"] is None
        assert row["last"]["estimate"] > 1e-3
        assert 0 < row["real_halves"]["n"] <= row["model"]["n"] / 2
    known = clips.known[:, 4:8]
    stayed = np.repeat(clips.last_seen, 4, axis=1)[known]
    points = [space.project(frames) for frames in (clips.frames[:, 4:8][known], stayed)]
    assert found["distance"]["5-8"]["last"]["estimate"] == pytest.approx(frechet_distance(*points))


def test_the_halves_are_of_other_episodes(seen):
    clips, space = seen
    order = np.argsort(clips.episodes, kind="stable")
    halves = []
    for chosen in (order[:40], order[40:]):
        known = clips.known[chosen][:, :4]
        halves.append(space.project(clips.frames[chosen][:, :4][known]))
    assert len(set(clips.episodes[order[:40]]) & set(clips.episodes[order[40:]])) <= 1
    found = measure_frechet(space, clips, {})["distance"]["1-4"]["real_halves"]
    assert found["estimate"] == pytest.approx(frechet_distance(*halves))
    assert found["n"] == min(map(len, halves))


def test_too_few_frames_have_no_distance_and_no_eye_sees_none(seen):
    clips, space = seen
    few = clips.take(np.arange(2))
    row = measure_frechet(space, few, {"model": few.frames})["distance"]["1-4"]
    assert row["model"] == {"estimate": None, "low": None, "high": None, "n": 8}
    assert set(measure_frechet(None, clips, {})) == {"why_not"}


def test_weights_are_told_apart():
    frames = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), np.uint8)
    one, same, other = (
        FeatureSpace.of(tiny_world(seed=seed).outcome, frames, 4).weights for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other
    assert len(one) == 12
