from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks import shown_clips
from benchmarks.clips import cut_clips
from benchmarks.image_metrics import psnr
from tests.benchmarks import sliding
from world_model.data import open_store


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    store = open_store(sliding.make_dataset(tmp_path_factory.mktemp("data"), 60))
    return cut_clips(store, "validation", 20, 2, 4, 0)


def test_best_median_and_worst(clips, tmp_path):
    """Clip i is off by i grey levels everywhere: its error is known."""
    whole = np.flatnonzero(clips.known.all(1))
    off = np.random.default_rng(0).permutation(len(clips)).astype(np.uint8)
    imagined = clips.frames - off[:, None, None, None, None]
    shown = shown_clips.write_clips(tmp_path, "1", clips, imagined, 10.0)
    assert [clip["role"] for clip in shown] == ["best", "median", "worst"]
    ordered = whole[np.argsort(off[whole])]
    for clip, i in zip(shown, ordered[[0, (len(whole) - 1) // 2, -1]], strict=True):
        assert (clip["episode"], clip["start"]) == (clips.episodes[i], clips.starts[i])
        assert clip["psnr"] == pytest.approx(psnr(np.array(float(off[i]) ** 2)))
        assert clip["of"] == len(whole)
        assert Image.open(tmp_path / clip["strip"]).size[0] > 96
        with av.open(str(tmp_path / clip["film"])) as film:
            assert sum(1 for _ in film.decode(video=0)) == 4


def test_steps_after_the_end_do_not_count(clips):
    cut = clips.known.copy()
    cut[:, 2:] = False
    imagined = clips.frames.copy()
    imagined[:, 2:] = 0
    shorter = replace(clips, known=cut & clips.known)
    np.testing.assert_array_equal(shown_clips.mean_error(shorter, imagined), 0)
    assert len(shown_clips.by_error(shorter, np.arange(float(len(clips))))) == 3


def counterfactuals(clips, out, fault):
    rollout = sliding.SlidingWorld(fault).make_rollout()
    return shown_clips.write_counterfactuals(
        out, "1", rollout, clips, sliding.SPEC, 10.0, seed=0, batch=8
    )


def test_held_actions_lead_apart(clips, tmp_path):
    pairs = counterfactuals(clips, tmp_path, "none")
    assert len(pairs) == 3
    for pair in pairs:
        assert pair["actions"] == ["stay", "right", "left"]
        assert [(p["first"], p["second"]) for p in pair["apart"]] == [
            ("stay", "right"), ("stay", "left"), ("right", "left")
        ]  # fmt: skip
        assert (tmp_path / pair["film"]).is_file()
        assert (tmp_path / pair["strip"]).is_file()
    # Four steps right and four left of any place end at different ones.
    assert all(pair["apart"][2]["difference"] > 0 for pair in pairs)


@pytest.mark.parametrize("fault", ["deaf", "random"])
def test_a_world_that_does_not_listen_shows_no_difference(clips, tmp_path, fault):
    """Even where the future is random: the noise is the same."""
    pairs = counterfactuals(clips, tmp_path, fault)
    assert {part["difference"] for pair in pairs for part in pair["apart"]} == {0.0}


def test_actions_to_hold():
    recorded = np.array([5, 5, 5, 1, 1, 1, 1, 9, 2, 2], np.float32)[:, None]
    assert shown_clips.choose_actions(recorded).ravel().tolist() == [1, 2, 5]
    rng = np.random.default_rng(0)
    spread = rng.uniform(-1, 1, (500, 2)).astype(np.float32)
    spread = np.concatenate([spread, [[30, 0], [-30, 0]]]).astype(np.float32)
    held = shown_clips.choose_actions(spread)
    assert abs(held[0]).max() < 1
    assert sorted(held[1:, 0].tolist()) == [-30, 30]
    assert len(shown_clips.choose_actions(np.zeros((4, 4, 1), np.float32))) == 1
