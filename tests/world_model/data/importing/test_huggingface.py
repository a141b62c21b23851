from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

from tests.world_model.data.importing.lerobot_sets import png
from tests.world_model.data.importing.recorder import number_frame, read_number, write_mp4
from tests.world_model.data.importing.running import imported
from world_model.data.importing.command import main
from world_model.data.importing.huggingface import HuggingFace
from world_model.errors import DataError


def run(source: Path, out: Path, **settings: Any):
    return imported(HuggingFace(source=source, out=out, **{"processes": 1, **settings}))


def write_rows(path: Path, numbers: list[int], **columns: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = columns.pop("screen", None) or [png(n, 24, 32) for n in numbers]
    pq.write_table(pa.table({"screen": images, **columns}), path)


def numbers_of(store) -> list[list[int]]:
    return [
        [read_number(frame) for frame in store.episode(i).frames]
        for i in range(store.num_episodes)
    ]  # fmt: skip


def test_rows_become_episodes(tmp_path):
    numbers = list(range(20))
    write_rows(
        tmp_path / "in/data/a.parquet", numbers, move=[n % 3 for n in numbers],
        points=[n * 0.5 for n in numbers], episode_id=[n // 8 for n in numbers],
        over=[n == 15 for n in numbers],
    )  # fmt: skip
    write_rows(
        tmp_path / "in/data/b.parquet", [50, 51], move=[4, 0], points=[1.0, 2.0],
        episode_id=[2, 2], over=[False, False],
    )  # fmt: skip
    store, findings = run(
        tmp_path / "in", tmp_path / "out", image_column="screen", action_column="move",
        reward_column="points", done_column="over",
    )  # fmt: skip
    assert findings.rows("dropped") == []
    assert numbers_of(store) == [numbers[:8], numbers[8:16], numbers[16:], [50, 51]]
    assert store.action_spec.space == spaces.Discrete(5)
    np.testing.assert_array_equal(store.actions[:20, 0], np.arange(20) % 3)
    np.testing.assert_array_equal(store.rewards[:20], np.arange(20) / 2)
    assert store.terminated[:20].tolist() == [n == 15 for n in numbers]
    # Every row has an action, also the last of an episode.
    assert store.frame_missing.sum() == 4


def test_an_episode_ends_where_it_is_done(tmp_path):
    done = [False, False, True, False, False, True]
    write_rows(tmp_path / "in/a.parquet", list(range(6)), move=[1] * 6, over=done)
    store, _ = run(
        tmp_path / "in", tmp_path / "out", image_column="screen", action_column="move",
        done_column="over",
    )  # fmt: skip
    assert numbers_of(store) == [[0, 1, 2], [3, 4, 5]]
    assert store.terminated.tolist() == done


def test_words_are_choices_and_bad_rows_split(tmp_path):
    words = ["stay", "left", "right", "left", "stay", "right", "left"]
    images: list[Any] = [png(n, 24, 32) for n in range(7)]
    images[3] = {"bytes": b"no picture", "path": None}
    write_rows(tmp_path / "in/a.parquet", [], screen=images, action=words)
    store, findings = run(tmp_path / "in", tmp_path / "out", image_column="screen")
    assert numbers_of(store) == [[0, 1, 2], [4, 5, 6]]
    assert store.action_spec.groups[0].labels == ("left", "right", "stay")
    names = [store.action_spec.describe(vector) for vector in store.actions]
    assert names == words[:3] + words[4:]
    (row,) = findings.rows("dropped")
    assert (row["count"], row["reason"]) == (1, "rows without a readable image")


def test_videos_with_lists_of_actions(tmp_path):
    clips = []
    for i, length in enumerate((9, 5, 7)):
        write_mp4(tmp_path / f"{i}.mp4", (number_frame(100 * i + t, 48, 64) for t in range(length)))
        clips.append({"bytes": (tmp_path / f"{i}.mp4").read_bytes(), "path": None})
    actions = [[[t / 10, -1.0] for t in range(length)] for length in (9, 4, 3)]
    table = pa.table({"clip": clips, "action": actions})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in/a.parquet")
    store, findings = run(tmp_path / "in", tmp_path / "out", video_column="clip")
    assert numbers_of(store) == [list(range(9)), list(range(100, 105))]
    assert [len(store.episode(i).actions) for i in range(2)] == [9, 4]
    np.testing.assert_allclose(store.episode(0).actions[:, 0], np.arange(9) / 10, rtol=1e-6)
    (row,) = findings.rows("dropped")
    assert row["reason"] == "videos without an action for each frame"


def test_missing_columns_name_those_that_there_are(tmp_path, capsys):
    write_rows(tmp_path / "in/a.parquet", [0, 1], action=[0, 1])
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    with pytest.raises(DataError, match=r"no column 'image' \(--image-column\); .*screen, action"):
        main(["hf", source, "--out", out])
    with pytest.raises(DataError, match=r"no column 'r' \(--reward-column\)"):
        main(["hf", source, "--out", out, "--image-column", "screen", "--reward-column", "r"])
    assert main(["hf", source, "--out", out, "--image-column", "screen", "--processes", "1"]) == 0
    assert "1 of 1 recordings" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no parquet files"):
        main(["hf", str(tmp_path / "empty"), "--out", out])
