import json

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import fidelity, fidelity_report
from benchmarks.clips import cut_clips
from benchmarks.dreaming import make_rollout
from benchmarks.evaluate import main
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.fidelity_measures import frame_similarity
from benchmarks.frechet import FeatureSpace
from benchmarks.image_metrics import similarity
from benchmarks.results import check_benchmark
from tests.benchmarks import sliding
from tests.world_model.tiny import tiny_world
from world_model.data import open_store
from world_model.errors import ContextError, NFDError

CAP = 58.9  # dB, of equal frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


def measured(data, out, world, **changes):
    settings = {"clips": 16, "horizon": 4, "samples": 3, "sampled_clips": 6, "rollouts": 3,
                "rollout_steps": 6, "pictures": False, **changes}  # fmt: skip
    console = Console(quiet=True)
    options = EvaluateOptions(data=data, out=out, **settings)
    return fidelity.run(options, console, world)["results"]["by_steps"]


def curve(part):
    return [point["estimate"] for point in part]


@pytest.fixture(scope="module")
def perfect(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("perfect")
    return measured(data, out, sliding.SlidingWorld(), clips=40, pictures=True)["1"], out


def test_a_perfect_world(perfect):
    results, _ = perfect
    np.testing.assert_allclose(curve(results["psnr"]["model"]), CAP, atol=0.1)
    np.testing.assert_allclose(curve(results["psnr_changed"]["model"]), CAP, atol=0.1)
    np.testing.assert_allclose(curve(results["ssim"]["model"]), 1)
    for baseline in ("repeat_last", "shuffled_actions"):
        assert all(point["high"] < 1 for point in results["ssim"][baseline][1:])
    for baseline in ("repeat_last", "shuffled_actions", "blurred"):
        assert all(point["low"] > 0 for point in results["psnr_gain_over"][baseline][1:])
    assert max(curve(results["samples"]["energy_score"]["samples"])) == 0
    assert curve(results["small_things"]["ball"]["presence"]["model"]["recall"]) == [1, 1, 1, 1]
    assert results["long_rollouts"]["objects"]["ball"]["ratio"]["estimate"] == 1


def test_everything_is_left_behind(perfect):
    _, out = perfect
    files = {path.name for path in out.iterdir()}
    shown = [*("best", "median", "worst"), *(f"actions-{i}" for i in (1, 2, 3))]
    assert files == {
        "fidelity.json", "fidelity-1.png", "clips-1.png", "rollout-1.mp4",
        *(f"{name}-1.{kind}" for name in shown for kind in ("mp4", "png")),
    }  # fmt: skip
    document = json.loads((out / "fidelity.json").read_text())
    check_benchmark(document)
    assert document["data"]["split"] == "validation"
    assert document["settings"]["seed"] == 0
    assert document["settings"]["clips"] == 40
    assert "out" not in document["settings"]


def test_tables_show_every_curve(perfect):
    results, _ = perfect
    tables = fidelity_report.tables(results, "title")
    # Horizons 1 and 4 of 1, 4, 16; no eye for a Frechet distance; imagined, real, ratio.
    assert [len(table.columns) for table in tables] == [3, 2, 3, 4]
    rows = results["psnr"].keys() | set()
    sections = ("psnr", "psnr_gain_over", "psnr_changed", "ssim")
    expected = sum(1 + len(results[name]) for name in sections)
    expected += sum(1 + len(results["teacher_forced"][name]) for name in ("psnr", "ssim"))
    expected += sum(1 + len(part) for k, part in results["samples"].items() if k != "clips")
    assert tables[0].row_count == expected
    assert {"model", "repeat_last", "shuffled_actions"} <= rows
    wide = Console(width=120, record=True, quiet=True, file=None)
    with wide.capture() as captured:
        for table in tables:
            wide.print(table)
    assert captured.get() is not None


def test_frames_are_seen_by_the_eye_that_there_is(data, tmp_path):
    results = measured(data, tmp_path, sliding.SlidingWorld("blind", eye=True), clips=60)["1"]
    (row,) = results["frechet"]["distance"].values()
    for others in ("repeat_last", "real_halves"):  # which show the ball
        assert row["model"]["estimate"] > 3 * row[others]["estimate"]
    assert row["model"]["n"] > 100
    title = [table.title for table in fidelity_report.tables(results, "title")][1]
    assert title == "Frechet distance to real frames"
    eyeless = measured(data, tmp_path / "eyeless", sliding.SlidingWorld("blind"))["1"]
    assert set(eyeless["frechet"]) == {"why_not"}


def test_a_frozen_world_gains_nothing_over_the_last_frame(data, tmp_path):
    results = measured(data, tmp_path, sliding.SlidingWorld("frozen"))["1"]
    assert curve(results["psnr_gain_over"]["repeat_last"]) == [0, 0, 0, 0]
    assert curve(results["psnr_gain_over"]["shuffled_actions"]) == [0, 0, 0, 0]
    assert curve(results["psnr"]["model"])[3] < 40


def test_similarity_is_nothing_where_nothing_is_known(data):
    clips = cut_clips(open_store(data), "validation", 40, 2, 6, seed=0)
    found = frame_similarity(clips, clips.last_seen)
    assert (np.isnan(found) == ~clips.known).all()
    assert not clips.known.all()
    at = tuple(np.argwhere(clips.known)[-1])
    pair = [f[None] for f in (clips.frames[at], clips.last_seen[at[0], 0])]
    assert found[at] == pytest.approx(similarity(*pair)[0])


def test_a_deaf_world_is_as_good_under_other_actions(data, tmp_path):
    results = measured(data, tmp_path, sliding.SlidingWorld("deaf"))["1"]
    assert curve(results["psnr_gain_over"]["shuffled_actions"]) == [0, 0, 0, 0]


def test_a_blind_world_loses_the_ball_though_psnr_hardly_minds(data, tmp_path):
    results = measured(data, tmp_path, sliding.SlidingWorld("blind"))["1"]
    ball = results["small_things"]["ball"]
    assert curve(ball["presence"]["model"]["recall"]) == [0, 0, 0, 0]
    assert curve(ball["presence"]["real_frames"]["recall"]) == [1, 1, 1, 1]
    assert results["long_rollouts"]["objects"]["ball"]["ratio"]["estimate"] == 0


def test_a_random_world_has_a_best_sample_and_a_spread(data, tmp_path):
    results = measured(data, tmp_path, sliding.SlidingWorld("random"), samples=6)["1"]["samples"]
    assert curve(results["psnr"]["best_of_6"])[0] > curve(results["psnr"]["one_sample"])[0] + 1
    score = results["energy_score"]
    assert curve(score["samples"])[2] < curve(score["mean_of_6"])[2]


def test_a_real_world_with_several_numbers_of_steps(data, tmp_path):
    world = tiny_world()
    results = measured(data, tmp_path, world, steps=(1, 2), clips=4, sampled_clips=2, horizon=2)
    assert list(results) == ["1", "2"]
    assert np.isfinite(curve(results["2"]["psnr"]["model"])).all()
    seen = results["1"]["frechet"]
    weights = FeatureSpace.of(world.outcome, np.zeros((2, 16, 16, 3), np.uint8)).weights
    assert (seen["weights"], list(seen["distance"])) == (weights, ["1-2"])
    assert seen["distance"]["1-2"]["model"]["estimate"] is None  # of 8 frames


def test_data_that_do_not_fit(tmp_path):
    from tests.world_model.data.episodes import make_dataset

    data = make_dataset(tmp_path / "data", [8, 8])
    with pytest.raises(ContextError, match="learned from"):
        measured(data, tmp_path, tiny_world())


def test_nothing_to_measure():
    with pytest.raises(NFDError, match="nothing to measure"):
        main(["toy", "--measure"])


def test_help_needs_no_world(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    assert "--sampled-clips" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_reaches_what_imagines(precision):
    options = EvaluateOptions(precision=precision)
    rollout = make_rollout(tiny_world(), sampling_steps=1, **options.imagination)
    assert rollout.network.embed.weight.dtype == getattr(torch, precision)
    assert options.figures()["precision"] == precision


def test_clips_without_other_actions_are_told():
    counts = {"clips": [8, 8, 7], "same_actions": [3, 1, 0]}
    words = fidelity_report.words_on_lent_actions(counts)
    assert "up to step 1 of 3 of 8 clips, up to the last of 0 of 7" in words
    assert fidelity_report.words_on_lent_actions({"clips": [8], "same_actions": [0]}) == ""
    assert fidelity_report.words_on_lent_actions({}) == ""
