import numpy as np
import pytest

from benchmarks.blobs import match_blobs
from benchmarks.clips import cut_clips
from benchmarks.detector import calibrate_detector, calibration_frames
from benchmarks.dreaming import imagine, noise_seeds
from benchmarks.fidelity_measures import find_classes
from benchmarks.image_metrics import blur
from benchmarks.small_things import counts_over_time, error_inside, presence
from tests.benchmarks import sliding
from tests.world_model.data.episodes import make_dataset
from world_model.data import open_store
from world_model.errors import DataError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(sliding.make_dataset(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def clips(store):
    return cut_clips(store, "validation", 12, context=2, horizon=4, seed=0)


@pytest.fixture(scope="module")
def detector(store):
    frames, labels = calibration_frames(store, "train", 300, seed=0)
    return calibrate_detector(frames, labels == 1)


def dream(clips, fault):
    rollout = sliding.SlidingWorld(fault).make_rollout()
    return imagine(rollout, clips, noise_seeds(len(clips), 0)).frames


def test_the_detector_finds_what_is_there(store, detector):
    frames, labels = calibration_frames(store, "validation", 100, seed=1)
    matches = match_blobs(detector.find(frames), labels == 1)
    assert (matches.matched == matches.true).all()
    assert (matches.matched == matches.found).all()


def test_the_detector_finds_nothing_where_nothing_is(detector):
    frames, _ = sliding.draw(np.arange(5), ball=False)
    assert not detector.find(frames).any()


def test_the_detector_takes_any_leading_shape(detector, clips):
    assert detector.find(clips.frames).shape == clips.frames.shape[:-1]
    np.testing.assert_array_equal(
        detector.find(clips.frames)[3, 2], detector.find(clips.frames[3, 2])
    )


def test_a_dark_object_is_found_too():
    """Not only what glows: the second filter knows patterns."""
    rng = np.random.default_rng(0)
    frames = rng.integers(90, 130, (80, 24, 24, 3), dtype=np.uint8)
    wanted = np.zeros((80, 24, 24), bool)
    for i in range(80):
        y, x = rng.integers(1, 18, 2)
        frames[i, y : y + 5, x : x + 3] -= 60
        wanted[i, y : y + 5, x : x + 3] = True
    detector = calibrate_detector(frames[:60], wanted[:60])
    matches = match_blobs(detector.find(frames[60:]), wanted[60:])
    assert matches.matched.sum() >= 19
    assert matches.found.sum() <= 22


def test_no_such_object():
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(DataError, match="nothing to calibrate on"):
        calibrate_detector(frames, np.zeros((2, 16, 16), bool))


def test_classes_are_found_by_name(store):
    classes = find_classes(store, "validation", seed=0)
    assert list(classes) == ["ball"]
    assert classes["ball"].on_real_frames.recall[0].estimate == 1.0


def test_perfect_imagination(clips, detector):
    result = presence(clips, {"model": dream(clips, "none")}, 1, detector)["model"]
    for step in range(4):
        assert result.precision[step].estimate == result.recall[step].estimate == 1.0
        assert result.per_frame[step].estimate == 1.0
    inside = error_inside(clips, {"model": dream(clips, "none")}, 1)["model"]
    assert [i.estimate for i in inside] == [0, 0, 0, 0]


def test_a_world_that_loses_the_ball_is_caught(clips, detector):
    frames = dream(clips, "blind")
    result = presence(clips, {"model": frames}, 1, detector)["model"]
    assert [i.estimate for i in result.recall] == [0, 0, 0, 0]
    assert [i.estimate for i in result.per_frame] == [0, 0, 0, 0]
    assert error_inside(clips, {"model": frames}, 1)["model"][0].estimate > 80


def test_a_world_with_ghosts_is_caught(clips, detector):
    frames = dream(clips, "none")
    ghost, _ = sliding.draw(np.array([0]))
    frames[..., 0:5, 0:3, :] = ghost[0, sliding.TOP, 0]
    result = presence(clips, {"model": frames}, 1, detector)["model"]
    assert result.recall[0].estimate == 1.0
    assert result.precision[0].estimate < 0.7


def test_blur_keeps_psnr_and_loses_the_ball(clips, detector):
    result = presence(clips, {"blurred": blur(clips.frames)}, 1, detector)["blurred"]
    assert result.recall[0].estimate < 0.2


def test_counts_match_or_do_not(clips, detector):
    real = clips.frames
    same = counts_over_time(real, real, clips.known, detector, clips.episodes)
    assert same["ratio"]["estimate"] == same["real"]["estimate"] == 1.0
    assert len(same["by_step"]["real"]) == clips.horizon
    lost = counts_over_time(real, dream(clips, "blind"), clips.known, detector, clips.episodes)
    assert lost["ratio"]["estimate"] == 0.0


def test_data_without_labels(tmp_path):
    from dataclasses import replace

    from tests.world_model.data.episodes import INFO, make_episode
    from world_model.data import write_dataset

    info = replace(INFO, label_classes={})
    root = write_dataset(
        tmp_path / "plain", [make_episode(i, 5, info=info) for i in range(3)], info
    )
    store = open_store(root)
    assert find_classes(store, "validation", seed=0) == {}
    with pytest.raises(DataError, match="no labels"):
        calibration_frames(store, "train", 5, seed=0)
    assert open_store(make_dataset(tmp_path / "labelled", [4, 5])).labels is not None
