"""What the page says before any figure."""

import json

from benchmarks.evaluation_folder import read_folder
from benchmarks.report import render_report
from benchmarks.report_warnings import warnings_of
from tests.benchmarks import evaluations as made


def change(path, part, **settings):
    document = json.loads((path / f"{part}.json").read_text())
    document["settings"] |= settings
    (path / f"{part}.json").write_text(json.dumps(document))


def on_split(path, part, split):
    document = json.loads((path / f"{part}.json").read_text())
    document["data"]["split"] = split
    (path / f"{part}.json").write_text(json.dumps(document))


def test_of_one_protocol_there_is_nothing_to_say(tmp_path):
    folder = read_folder(made.write_all(tmp_path))
    assert warnings_of(folder, {"probes": "no states"}) == []
    assert "Beware" not in render_report(folder)


def test_stability_compares_with_training_frames_as_it_should(tmp_path):
    made.write_all(tmp_path)
    on_split(tmp_path, "stability", "train")
    assert warnings_of(read_folder(tmp_path), {}) == []


def test_any_part_on_another_split_is_told(tmp_path):
    made.write_all(tmp_path)
    on_split(tmp_path, "outcomes", "train")
    (warning,) = warnings_of(read_folder(tmp_path), {})
    assert warning.startswith("Beware: outcomes was measured on the split 'train', which flatters")
    on_split(tmp_path, "fidelity", "train")
    (warning,) = warnings_of(read_folder(tmp_path), {})
    assert warning.startswith("Beware: fidelity and outcomes were measured on the split 'train'")


def test_parts_of_different_clips_are_told(tmp_path):
    made.write_all(tmp_path)
    change(tmp_path, "outcomes", seed=5, clips=6)
    change(tmp_path, "stability", seed=7)  # not of clips
    (warning,) = warnings_of(read_folder(tmp_path), {})
    assert warning.endswith(
        "the same clips: fidelity with seed 0, clips 40; outcomes with seed 5, clips 6."
    )
    assert warning in render_report(read_folder(tmp_path))


def test_what_could_not_be_measured_again_is_told(tmp_path):
    folder = read_folder(made.write_all(tmp_path))
    (warning,) = warnings_of(folder, {"fidelity": "weights are missing."})
    assert warning.endswith("from an earlier run. It was to be measured again, but could not be: "
                            "weights are missing.")  # fmt: skip
    assert warning in render_report(folder, {"fidelity": "weights are missing."})
