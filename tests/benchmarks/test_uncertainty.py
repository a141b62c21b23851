import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from benchmarks import uncertainty, uncertainty_report
from benchmarks.clips import cut_clips
from benchmarks.dreaming import Dream
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import read_folder
from benchmarks.results import check_benchmark, plain
from tests.benchmarks import sliding
from world_model.data import open_store

CLIPS, STEPS = 40, 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clips(data):
    return cut_clips(open_store(data), "validation", CLIPS, 2, STEPS, seed=0)


def dream_of(clips, error, unsure):
    """Every pixel is wrong by ``error`` (N, H) grey levels; outcomes are right."""
    real = clips.frames.astype(np.float32)
    off = np.where(real < 128, 1, -1) * error[..., None, None, None]
    return Dream(
        rewards=np.nan_to_num(clips.rewards),
        termination_probability=np.nan_to_num(clips.ended),
        frames=(real + off).astype(np.uint8),
        uncertainty=unsure.astype(np.float32),
    )


@pytest.fixture(scope="module")
def error(clips):
    return np.random.default_rng(0).permutation(clips.ended.size).reshape(clips.ended.shape) % 60


def test_a_world_that_knows_its_errors_is_told_so(clips, error):
    figures = uncertainty.score(dream_of(clips, error, error / 60), clips, 0.5)
    told = figures["frames"]["uncertainty"]
    assert told["overall"]["estimate"] == told["overall"]["low"] == 1
    assert all(step["estimate"] == 1 for step in told["by_step"])
    for row in figures["risk_coverage"]:
        assert row["risk"]["estimate"] == pytest.approx(row["oracle"]["estimate"])
    assert figures["risk_coverage"][-1]["risk"]["estimate"] == pytest.approx(
        error[clips.known].mean()
    )
    assert figures["risk_coverage"][0]["risk"]["estimate"] < error[clips.known].mean() / 4


def test_a_world_that_is_wrongly_sure_is_found_out(clips, error):
    figures = uncertainty.score(dream_of(clips, error, 60 - error), clips, 0.5)
    assert figures["frames"]["uncertainty"]["overall"]["high"] == 0
    first, last = figures["risk_coverage"][0], figures["risk_coverage"][-1]
    assert first["risk"]["estimate"] > last["risk"]["estimate"] > first["oracle"]["estimate"]


def test_chance_is_one_half(clips, error):
    noise = np.random.default_rng(1).random(error.shape)
    told = uncertainty.score(dream_of(clips, error, noise), clips, 0.5)["frames"]
    assert told["uncertainty"]["overall"]["low"] < 0.5 < told["uncertainty"]["overall"]["high"]


def test_the_limit_is_a_quantile_and_cuts_what_follows(clips, error):
    unsure = np.zeros(error.shape)
    unsure[::2, 2] = 9.0  # every other clip is unsure of its third step
    rows = uncertainty.limits(unsure, np.where(clips.known, error, np.nan), clips.episodes)
    assert rows[0]["limit"] == np.quantile(unsure[clips.known], 0.9)
    cut = clips.known[::2, 2].sum()
    known, after = clips.known.sum(), clips.known[::2, 3:].sum()
    below_nine = [row for row in rows if row["limit"] < 9]
    assert below_nine, "no limit lies below what the unsure steps say"
    for row in below_nine:
        assert row["clips_cut"]["estimate"] == pytest.approx(cut / len(clips))
        # The unsure step itself is seen, what comes after it is not.
        assert row["steps_kept"]["estimate"] == pytest.approx(1 - after / known)


def test_wrong_outcomes_are_those_called_wrongly(clips):
    dream = dream_of(clips, np.zeros(clips.ended.shape), np.zeros(clips.ended.shape))
    right = uncertainty.wrong_outcomes(dream, clips, 0.5)
    assert np.nansum(right["end"]) == np.nansum(right["reward"]) == 0
    liar = replace(dream, rewards=dream.rewards + 0.6, termination_probability=np.ones_like(
        dream.termination_probability))  # fmt: skip
    wrong = uncertainty.wrong_outcomes(liar, clips, 0.5)
    assert np.nansum(wrong["end"]) == (clips.ended == 0).sum()
    # Rewards are 0 or 1: 0.6 too much is nearer to another one, where there is a frame to read.
    assert np.nansum(wrong["reward"]) == (clips.known & ~np.isnan(clips.rewards)).sum()
    assert (np.isnan(wrong["end"]) == np.isnan(clips.ended)).all()


def test_a_world_without_a_sign_says_so(data, tmp_path):
    options = EvaluateOptions(data=data, out=tmp_path, clips=20, horizon=4, pictures=False)
    document = uncertainty.run(options, Console(quiet=True), sliding.SlidingWorld())
    results = document["results"]["by_steps"]["1"]
    assert results == {"why_not": uncertainty.SILENT}
    assert uncertainty_report.tables(results, "title")[0].caption.startswith("The world gives no")
    assert "no sign" in uncertainty_report.uncertainty_section(read_folder(tmp_path), "1")


def test_the_whole_command(data, tmp_path):
    options = EvaluateOptions(data=data, out=tmp_path, clips=40, horizon=STEPS)
    world = sliding.SlidingWorld("random", unsure=True)
    document = uncertainty.run(options, Console(quiet=True), world)
    check_benchmark(json.loads((tmp_path / "uncertainty.json").read_text()))
    assert (tmp_path / "uncertainty-1.png").is_file()
    results = document["results"]["by_steps"]["1"]
    assert results == plain(results)
    # This world's sign counts the steps.
    assert results["frames"]["uncertainty"] == results["frames"]["steps_imagined"]
    assert results["cost"]["share"] > 0
    shown = uncertainty_report.uncertainty_section(read_folder(tmp_path), "1")
    assert f"max_uncertainty={results['recommended']:.3g}" in shown
