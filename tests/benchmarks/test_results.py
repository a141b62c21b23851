import json

import numpy as np
import pytest

from agents.statistics import Interval
from benchmarks.results import check_benchmark, machine_line, plain, write_benchmark


def write(path, **changes):
    content = {
        "world": "toy@1#0",
        "settings": {"seed": 3, "steps": (1, 2)},
        "results": {"psnr": [Interval(20.0, 19.0, 21.0)], "share": np.float32(0.5)},
        "seconds": 1.234,
        **changes,
    }
    return write_benchmark(path, "speed", **content)


def test_everything_needed_to_repeat_it_is_there(tmp_path):
    write(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    check_benchmark(content)
    assert content["kind"] == "benchmark/speed"
    assert content["world"] == "toy@1#0"
    assert content["settings"] == {"seed": 3, "steps": [1, 2]}
    assert content["results"]["psnr"][0]["confidence"] == 0.95
    assert content["torch_threads"] >= 1
    assert content["versions"]["torch"]
    assert content["machine"]["processor"]
    assert content["machine"]["cpus"] >= 1


def test_json_holds_only_what_json_knows(tmp_path):
    results = {"nan": float("nan"), "inf": np.float64("inf"), "array": np.array([[1.0, np.nan]])}
    write(tmp_path / "r.json", results=results)
    text = (tmp_path / "r.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["results"]["array"] == [[1.0, None]]
    assert plain({1: (np.int64(2), True, "x", None)}) == {"1": [2, True, "x", None]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"results": {"a": {"b": [Interval(1.0, 3.0, 2.0)]}}}, r"results\.a\.b\[0\].*order"),
        ({"kind": "beauty"}, "beauty"),
    ],
)
def test_broken_documents_are_refused(tmp_path, change, message):
    kind = change.pop("kind", "speed")
    with pytest.raises(ValueError, match=message):
        write_benchmark(
            tmp_path / "r.json",
            kind,
            **{"world": None, "settings": {}, "results": {}, "seconds": 0.0, **change},
        )
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("missing", ["world", "settings", "results", "schema_version", "seconds"])
def test_missing_fields_are_named(tmp_path, missing):
    document = write(tmp_path / "r.json")
    del document[missing]
    with pytest.raises(ValueError, match=missing):
        check_benchmark(document)


def test_another_version_is_refused(tmp_path):
    with pytest.raises(ValueError, match="schema version 99"):
        check_benchmark({**write(tmp_path / "r.json"), "schema_version": 99})


def test_the_machine_in_one_line():
    assert "thread" in machine_line()
    assert "\n" not in machine_line()
