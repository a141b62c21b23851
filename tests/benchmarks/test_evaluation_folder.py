"""Folders of results: found by name, fit to be written to, and named in commands."""

import json

import pytest

from benchmarks import evaluate
from benchmarks.evaluation_folder import (
    command_of,
    find_evaluation,
    name_of,
    prepare_folder,
    read_folder,
)
from benchmarks.report import write_report
from tests.benchmarks import evaluations as made
from tests.benchmarks import sliding_game
from world_model.errors import DataError, NFDError, StorageError

WORLD = "tests.benchmarks.sliding_game:world"


def test_worlds_are_called_as_they_call_themselves():
    name = sliding_game.world().config.name
    assert name_of("doom-take-cover") == "doom-take-cover"
    assert name_of("perfect:doom-take-cover") == "perfect-doom-take-cover"
    assert name_of("teacher:doom-take-cover") == "teacher-doom-take-cover"
    assert name_of(WORLD) == name
    assert name_of(f"perfect:{WORLD}") == f"perfect-{name}"
    with pytest.raises(NFDError, match="could not be loaded"):
        name_of("no_such_module:world")


def test_results_of_a_function_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.write_all(tmp_path / "runs" / f"evaluate-{sliding_game.world().config.name}")
    assert find_evaluation(WORLD).world == "toy@1#abc"
    with pytest.raises(DataError, match="there are no results of the world 'perfect:tests"):
        find_evaluation(f"perfect:{WORLD}")


def test_a_function_is_named_in_commands(tmp_path):
    made.write(tmp_path, "fidelity", made.fidelity())
    document = json.loads((tmp_path / "fidelity.json").read_text())
    assert "evaluate toy@1" in command_of(document)
    document["settings"] |= evaluate.EvaluateOptions(world=WORLD).figures()
    assert f"evaluate {WORLD}" in command_of(document)
    assert evaluate.EvaluateOptions(world="doom-take-cover").figures().get("world") is None


def test_what_cannot_be_written_to_is_said_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "within"):
        with pytest.raises(StorageError, match=r"results cannot be written to .*file.*--out"):
            prepare_folder(path, ["fidelity"])
    prepare_folder(tmp_path / "new" / "folder", ["fidelity"])
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_damaged_document_is_in_the_way_unless_it_is_measured_anew(tmp_path):
    (tmp_path / "outcomes.json").write_text('{"kind": "benchmark/outc')
    prepare_folder(tmp_path, ["outcomes"])
    with pytest.raises(DataError, match=r"outcomes\.json cannot be read"):
        prepare_folder(tmp_path, ["fidelity"])


def test_a_document_without_its_figures_is_said_to_be_damaged(tmp_path):
    results = made.fidelity()
    del results["psnr"]
    made.write(tmp_path, "fidelity", results)
    for use in (write_report, read_folder):
        with pytest.raises(DataError, match=r"fidelity\.json is damaged: .* lack psnr"):
            use(tmp_path)


def test_what_is_remembered_of_the_real_game_is_no_document(tmp_path):
    made.write_all(tmp_path)
    (tmp_path / "real-returns.json").write_text('{"key')
    (tmp_path / "notes.json").write_text("[1]")
    prepare_folder(tmp_path, ["ranking"])
    assert "ranking" in read_folder(tmp_path).documents


def test_a_name_that_makes_no_world_is_refused_for_results_too():
    with pytest.raises(NFDError, match="makes a SlidingGame, which is no world"):
        find_evaluation(sliding_game.NAME)


def test_who_is_interrupted_is_told_what_there_is(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    parts = dict(evaluate.PARTS)
    monkeypatch.setattr(evaluate, "PARTS", parts)
    parts["outcomes"] = type("Part", (), {"measure": lambda *_: None})()
    parts["stability"] = type("Part", (), {"measure": stop})()
    out = str(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main([WORLD, "--measure", "outcomes", "stability", "--out", out])
    assert "outcomes: measured" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        evaluate.main([WORLD, "--measure", "stability", "--out", out])
    assert capsys.readouterr().out == ""


def test_what_makes_no_world_is_refused(tmp_path):
    with pytest.raises(NFDError, match="makes a SlidingGame, which is no world"):
        evaluate.main([sliding_game.NAME, "--out", str(tmp_path)])
