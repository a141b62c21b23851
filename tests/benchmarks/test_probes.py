import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from benchmarks import probes, probes_report
from benchmarks.clips import cut_clips
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import read_folder
from benchmarks.findings import findings
from benchmarks.report import render_report
from benchmarks.results import check_benchmark
from benchmarks.state_probe import (
    Quantity,
    StateProbe,
    find_quantities,
    read_clips,
    train_probe,
    true_states,
)
from tests.benchmarks import sliding
from world_model.data import open_store, write_dataset
from world_model.errors import ConfigError, DataError

ANGLE = Quantity("angle", 0, 360.0, (0.0, 0.0), (1.0, 1.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sliding.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def store(data):
    return open_store(data)


@pytest.fixture(scope="module")
def clips(store):
    return cut_clips(store, "validation", 20, context=2, horizon=5, seed=0)


def dataset_of(folder, names, make_state, count=8):
    """The game recorded with another state: ``make_state`` of the places (T + 1,)."""
    episodes = [
        replace(e, state=np.asarray(make_state(e.state[:, 0]), np.float32))
        for e in sliding.record(count)
    ]
    return write_dataset(folder, episodes, replace(sliding.INFO, state_names=names))


def options_for(data, out, **changes):
    settings = {
        "clips": 30,
        "horizon": 5,
        "probe_steps": 60,
        "networks": 2,
        "pictures": False,
        **changes,
    }
    return EvaluateOptions(data=data, out=out, **settings)


@pytest.mark.slow
def test_the_whole_command(data, tmp_path):
    options = options_for(data, tmp_path, pictures=True)
    document = probes.run(options, Console(quiet=True), sliding.SlidingWorld())
    assert {p.name for p in tmp_path.iterdir()} == {"probes.json", "probes-1.png"}
    written = json.loads((tmp_path / "probes.json").read_text())
    check_benchmark(written)
    results = document["results"]["by_steps"]["1"]
    place = results["read"]["place"]
    assert place["ceiling"]["r2"]["estimate"] > 0.95
    assert place["ceiling"]["mae"]["n"] > 100
    assert len(place["ceiling"]["by_probe"]) == 2
    # A perfect world shows what is real, frame by frame.
    assert place["mae"]["model"] == place["mae"]["real_frames"]
    assert place["gain_over"]["repeat_last"][-1]["low"] > 0
    assert place["gain_over"]["shuffled_actions"][-1]["low"] > 0
    assert results["counts"]["clips"][0] == place["mae"]["model"][0]["n"]
    ceiling, by_horizon = probes_report.tables(results, "title")
    assert ceiling.row_count == 1
    assert by_horizon.row_count == 5 + 5 + 3  # with the titles
    folder = read_folder(tmp_path)
    words = " ".join(f.sentence for f in findings(folder))
    assert "frames show the true place" in words
    page = render_report(folder)
    assert "place: mean absolute error" in page
    assert "held-out real frames" in page


def test_recordings_without_a_state_say_so(tmp_path):
    data = dataset_of(tmp_path / "data", (), lambda places: np.zeros((len(places), 0)), 60)
    out = tmp_path / "out"
    document = probes.run(options_for(data, out), Console(quiet=True), sliding.SlidingWorld())
    results = document["results"]["by_steps"]["1"]
    assert results == {"why_not": probes.NO_STATE, "not_read": {}}
    assert probes.NO_STATE in render_report(read_folder(out))
    assert probes_report.tables(results, "title")[0].row_count == 0


@pytest.mark.slow
def test_what_frames_do_not_show_is_not_used(tmp_path):
    rng = np.random.default_rng(0)

    def state(places):
        return np.stack([places, rng.normal(size=len(places)), np.full(len(places), 7.0)], axis=1)

    data = dataset_of(tmp_path / "data", ("place", "luck", "lives"), state, 60)
    document = probes.run(options_for(data, tmp_path), Console(quiet=True), sliding.SlidingWorld())
    results = document["results"]["by_steps"]["1"]
    assert list(results["read"]) == ["place"]
    assert results["not_read"]["lives"] == "always 7 in the training split"
    assert "cannot read it off real frames" in results["not_read"]["luck"]


def test_angles_go_round():
    assert ANGLE.targets(np.array([90.0])) == pytest.approx(np.array([[1, 0]]), abs=1e-6)
    assert ANGLE.values(ANGLE.targets(np.array([359.0, 1.0, 180.0]))) == pytest.approx(
        [359, 1, 180], abs=1e-4
    )
    assert ANGLE.errors(np.array([359.0, 90.0]), np.array([2.0, 270.0])).tolist() == [3, 180]
    radians = replace(ANGLE, turn=2 * np.pi)
    assert radians.errors(np.array([0.0]), np.array([np.pi / 2])) == pytest.approx([90])
    assert (radians.unit, replace(ANGLE, turn=None).unit) == ("degrees", "")


def test_units_of_angles_are_told_by_their_values(tmp_path):
    def state(places):
        return np.stack([places * 50, places / 3, places], axis=1)

    store = open_store(dataset_of(tmp_path, ("camera.yaw", "head_angle", "triangle"), state))
    found, left_out = find_quantities(store)
    assert [q.turn for q in found] == [360.0, 2 * np.pi, None]
    assert left_out == {}
    targets = found[2].targets(store.state[:, 2])
    assert abs(targets.mean()) < 0.3
    assert targets.std() == pytest.approx(1, abs=0.3)


def test_gaps_are_no_targets(tmp_path):
    def state(places):
        return np.where(places == 2, np.nan, places)[:, None]

    store = open_store(dataset_of(tmp_path, ("place",), state))
    found, left_out = find_quantities(store)
    assert found == []
    assert left_out == {"place": "not known of every training frame"}
    with pytest.raises(DataError, match="nothing to read"):
        train_probe(store, found, steps=1, seed=0)


def test_the_truth_is_that_of_the_same_step(store, clips):
    states, last = true_states(store, clips)
    assert last[:, 0].tolist() == sliding.read(clips.last_seen[:, 0]).tolist()
    for h in range(clips.horizon):
        known = clips.known[:, h]
        assert states[known, h, 0].tolist() == sliding.read(clips.frames[known, h]).tolist()
        assert np.isnan(states[~known, h]).all()


def test_figures_by_hand():
    """R2 = 1 - 2 / 8 of truths 0, 2, 4 read as 0, 3, 3, whatever the standardisation."""
    quantity = Quantity("x", 0, None, (1.0,), (2.0,))
    truth = np.array([[0.0], [2.0], [4.0], [np.nan]])
    said = quantity.targets(np.array([[0.0], [3.0], [3.0], [9.0]]))
    figures = probes._figures(quantity, said[None], truth, np.arange(4))
    assert figures["r2"][0]["estimate"] == pytest.approx(0.75)
    assert figures["mae"][0]["estimate"] == pytest.approx(2 / 3)
    assert figures["r2"][0]["n"] == figures["mae"][0]["n"] == 3


def test_errors_of_several_probes_are_their_mean():
    """R2 1 - 2 / 8 and 1 - 0 / 8, errors 2 / 3 and 0, of truths 0, 2, 4 and two readings."""
    quantity = Quantity("x", 0, None, (1.0,), (2.0,))
    truth = np.array([[0.0], [2.0], [4.0], [np.nan]])
    readings = [[0.0, 3.0, 3.0, 9.0], [0.0, 2.0, 4.0, 9.0]]
    said = np.stack([quantity.targets(np.array(reading)[:, None]) for reading in readings])
    figures = probes._figures(quantity, said, truth, np.arange(4))
    assert figures["r2"][0]["estimate"] == pytest.approx(1 - 1 / 8)
    assert figures["mae"][0]["estimate"] == pytest.approx(1 / 3)
    assert figures["r2"][0]["n"] == figures["mae"][0]["n"] == 3
    # Drawing the one probe twice, or the other.
    assert figures["mae"][0]["low"] == 0


def test_truths_that_are_equal_have_no_r2():
    quantity = Quantity("x", 0, None, (1000.0,), (2.0,))
    truth = np.full((5, 1), 1000.3)
    figures = probes._figures(quantity, quantity.targets(truth + 1)[None], truth, np.arange(5))
    assert np.isnan(figures["r2"][0]["estimate"])
    assert figures["mae"][0]["estimate"] == pytest.approx(1, abs=1e-3)


def test_pairs_are_of_neighbouring_frames(store, clips):
    """What is read of a step hangs on its frame and the one before it, and on no other."""
    probe = StateProbe(sliding.SHAPE, find_quantities(store)[0]).eval()
    before = read_clips(probe, clips, clips.frames)[0]
    changed = clips.frames.copy()
    changed[:, 2] = 0
    after = read_clips(probe, clips, changed)[0]
    assert before.shape == (len(clips), clips.horizon, 1)
    differs = np.abs(before - after).max((0, 2)) > 1e-6
    assert differs.tolist() == [False, False, True, True, False]


def test_nobody_to_read_is_refused():
    with pytest.raises(ConfigError, match="--networks 0: it must be at least 1"):
        EvaluateOptions(networks=0)
