from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.world_model.data.importing.recorder import number_video, read_number, write_jsonl
from tests.world_model.data.importing.running import imported
from world_model.data.importing.folder import Folder
from world_model.errors import DataError

SCHEMA: dict[str, Any] = {
    "fps": 30,
    "reward": "score",
    "columns": ["wheel", "jump", "gear", "score"],
    "actions": [
        {"name": "steer", "type": "number", "column": "wheel", "low": -2, "high": 2},
        {"name": "jump", "type": "button"},
        {"name": "gear", "type": "choice", "choices": ["low", "mid", "high"]},
    ],
}


def row(number: int) -> dict[str, Any]:
    """What was done at frame ``number``."""
    return {
        "wheel": number * 7 % 41 / 10 - 2,
        "jump": number % 2,
        "gear": number % 3,
        "score": number * 0.5,
        "comment": "unused",
    }


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def run(root: Path, schema: Any = SCHEMA, **settings: Any):
    path = root / "schema.json"
    path.write_text(schema if isinstance(schema, str) else json.dumps(schema))
    folder = Folder(
        source=root / "in", out=root / "out", size=(18, 32), processes=1, schema=path, **settings
    )
    return imported(folder)


def assert_aligned(store) -> list[list[int]]:
    seen = []
    for i in range(store.num_episodes):
        episode = store.episode(i)
        numbers = [read_number(frame) for frame in episode.frames]
        for number, vector, reward in zip(numbers, episode.actions, episode.rewards, strict=False):
            expected = row(number)
            values = (expected["wheel"], expected["jump"], expected["gear"])
            np.testing.assert_allclose(vector, values, rtol=1e-6)
            assert reward == expected["score"]
        seen.append(numbers)
    return seen


def test_csv_jsonl_and_npy_mean_the_same(tmp_path):
    rows = [row(i) for i in range(12)]
    for name in ("a", "deep/b", "c"):
        number_video(tmp_path / "in" / f"{name}.mp4", 12)
    words = ("low", "mid", "high")
    write_csv(tmp_path / "in/a.csv", [{**r, "gear": words[r["gear"]]} for r in rows])
    write_jsonl(tmp_path / "in/deep/b.jsonl", [{**r, "jump": bool(r["jump"])} for r in rows])
    columns = SCHEMA["columns"]
    np.save(tmp_path / "in/c.npy", np.array([[r[c] for c in columns] for r in rows]))
    number_video(tmp_path / "in/alone.mkv", 5)
    store, findings = run(tmp_path)
    assert assert_aligned(store) == [list(range(12))] * 3
    assert store.fps == 30
    assert "gear=mid" in store.action_spec.describe(store.actions[4])
    assert [r["examples"] for r in findings.rows("dropped")] == [["alone"]]


def test_rows_that_do_not_fit_split_the_recording(tmp_path):
    rows: list[dict[str, Any]] = [row(i) for i in range(14)]
    rows[3]["wheel"] = 2.5
    rows[6]["gear"] = "reverse"
    rows[9]["jump"] = ""
    rows[11]["score"] = "nan"
    number_video(tmp_path / "in/a.mp4", 14)
    write_csv(tmp_path / "in/a.csv", rows)
    store, findings = run(tmp_path)
    assert assert_aligned(store) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11], [12, 13]]
    assert [r["count"] for r in findings.rows("dropped")] == [4]


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda p: write_csv(p / "bad.csv", [{"jump": 1}] * 9), "has no column wheel, gear, score"),
        (lambda p: write_csv(p / "bad.csv", [row(i) for i in range(30)]), "9 frames, 30 rows"),
        (lambda p: np.save(p / "bad.npy", np.zeros((9, 3))), r"shape \(9, 3\).*4 'columns'"),
        (lambda p: np.save(p / "bad.npy", np.array([[None]] * 9)), "never loaded"),
        (lambda p: (p / "bad.jsonl").write_bytes(b"\xff\xfe\x00" * 9), "cannot be read"),
        (lambda p: (p / "bad.csv").write_text(""), "no column"),
    ],
)
def test_tables_that_cannot_be_used_drop_their_video_alone(tmp_path, write, match):
    number_video(tmp_path / "in/good.mp4", 9)
    write_csv(tmp_path / "in/good.csv", [row(i) for i in range(9)])
    number_video(tmp_path / "in/bad.mp4", 9)
    write(tmp_path / "in")
    store, findings = run(tmp_path)
    assert store.num_episodes == 1
    (finding,) = findings.rows("dropped")
    with pytest.raises(AssertionError, match=match):
        raise AssertionError(f"{finding['reason']}: {finding['examples'][0]}")


@pytest.mark.parametrize(
    ("schema", "match"),
    [
        ("{", "no JSON"),
        ([], 'a list of "actions"'),
        ({"fps": 20, "actions": []}, "must be one"),
        ({"actions": [{"name": "a", "type": "button"}]}, "fps is None"),
        ({"fps": 20, "actions": [{"type": "button"}]}, 'action 0 needs a "name"'),
        ({"fps": 20, "actions": [{"name": "a", "type": "key"}]}, "there is button, choice"),
        ({"fps": 20, "actions": [{"name": "a", "type": "choice"}]}, "at least two"),
        ({"fps": 20, "actions": [{"name": "a", "type": "number", "low": 3}]}, "below high"),
        ({"fps": 20, "actions": [{"name": "a", "type": "button", "colunm": "b"}]}, "colunm"),
        ({"fps": 20, "actions": [{"name": "a", "type": "button"}] * 2}, "must differ"),
    ],
)
def test_schemas_that_are_wrong_say_so(tmp_path, schema, match):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match=match):
        run(tmp_path, schema)


def test_a_schema_is_asked_for(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match=r"--schema FILE\.json is missing"):
        Folder(source=tmp_path / "in", out=tmp_path / "out").plan()


def test_another_schema_is_refused_later(tmp_path):
    number_video(tmp_path / "in/a.mp4", 9)
    write_csv(tmp_path / "in/a.csv", [row(i) for i in range(9)])
    run(tmp_path)
    with pytest.raises(DataError, match="other settings"):
        run(tmp_path, {**SCHEMA, "reward": None})
