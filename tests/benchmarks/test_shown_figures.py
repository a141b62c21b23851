"""Figures of a document that nobody chose to show: their names and digits."""

import json

from benchmarks.evaluation_folder import read_folder
from benchmarks.shown_figures import figures_of
from tests.benchmarks import evaluations as made


def test_small_scores_keep_their_digits_and_have_words(tmp_path):
    results = made.outcomes()
    results["termination"]["scores"]["brier"] = {**made.interval(0.0013, 0.0004), "n": 100}
    results["termination"]["scores"]["log_loss"] = {**made.interval(0.0, 0.0), "n": 100}
    made.write(tmp_path, "outcomes", results)
    found = {f.title: f for f in figures_of(read_folder(tmp_path), "outcomes")}
    brier = found["termination, scores, brier"]
    assert (brier.short, brier.ends) == ("0.0013", "[0.0009, 0.0017]")
    assert found["termination, scores, auroc"].short == "0.90"
    assert found["termination, scores, log loss"].short == "0.00"


def test_nothing_is_shown_twice(tmp_path):
    made.write(tmp_path, "outcomes", made.outcomes(rewarded=0.5, ends=1.25))
    figures = figures_of(read_folder(tmp_path), "outcomes")
    assert len({f.key for f in figures}) == len(figures)
    for number in (1.25, 0.5):
        document = json.loads((tmp_path / "outcomes.json").read_text())
        assert str(number) in json.dumps(document)
        of_imagined = [f for f in figures if f.interval["estimate"] == number]
        assert all(f.chosen for f in of_imagined)
