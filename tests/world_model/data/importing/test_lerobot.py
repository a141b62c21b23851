from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

from tests.world_model.data import films
from tests.world_model.data.episodes import assert_equal, make_dataset
from tests.world_model.data.importing.lerobot_sets import NAMES, action_of, write_v21, write_v30
from tests.world_model.data.importing.recorder import read_number
from tests.world_model.data.importing.running import imported
from world_model.data import open_store
from world_model.data.importing.command import main
from world_model.data.importing.lerobot import LeRobot
from world_model.errors import DataError

TOP = "observation.images.top"


def run(source: Path, out: Path, **settings: Any):
    return imported(LeRobot(source=source, out=out, **{"processes": 1, **settings}))


def dropped(findings) -> list[tuple[int, str, list[str]]]:
    return [(row["count"], row["of"], row["examples"]) for row in findings.rows("dropped")]


def assert_aligned(store, action=action_of) -> list[list[int]]:
    """Fails unless each action is the one of its frame; the numbers seen."""
    seen = []
    for i in range(store.num_episodes):
        episode = store.episode(i)
        numbers = [read_number(frame) for frame in episode.frames]
        expected = np.array([action(n) for n in numbers], np.float32).reshape(len(numbers), -1)
        np.testing.assert_array_equal(episode.actions, expected[: len(episode.actions)])
        seen.append(numbers)
    return seen


@pytest.mark.parametrize("kind", ["video", "image"])
def test_v21(tmp_path, kind):
    source = write_v21(tmp_path / "in", [7, 9], {TOP: kind})
    store, findings = run(source, tmp_path / "out")
    assert assert_aligned(store) == [list(range(7)), list(range(100, 109))]
    assert store.frame_shape == (48, 64, 3)
    # Every row has an action, also the last, whose result nobody sees.
    assert [len(store.episode(i).actions) for i in range(2)] == [7, 9]
    assert store.truncated.sum() == 2
    assert not store.terminated.any()
    space = store.action_spec.space
    assert isinstance(space, spaces.Box)
    assert store.action_spec.groups[0].labels == tuple(NAMES)
    np.testing.assert_array_equal(space.low, store.actions.min(axis=0))
    np.testing.assert_array_equal(space.high, store.actions.max(axis=0))
    assert store.episode(1).info == {
        "recording": "episode_000001", "task": "stack the cubes", "first_frame": "0"
    }  # fmt: skip
    assert (store.info.task, store.fps, dropped(findings)) == ("stack the cubes", 20, [])


@pytest.mark.parametrize("kind", ["video", "image"])
def test_v30_has_several_episodes_in_a_file(tmp_path, kind):
    more = {
        "next.reward": lambda n: n % 5 / 2,
        "next.done": lambda n: n == 116,
        "observation.state": lambda n: [n, -n],
    }
    features = {
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"axes": ["a", "b"]}},
    }
    source = write_v30(
        tmp_path / "in", [[11, 17, 6], [5, 44]], TOP, kind, more=more, features=features
    )
    store, findings = run(source, tmp_path / "out", max_steps=30)
    assert assert_aligned(store) == [
        list(range(11)), list(range(100, 117)), list(range(200, 206)), list(range(300, 305)),
        list(range(400, 431)), list(range(430, 444)),
    ]  # fmt: skip
    numbers = np.concatenate([[read_number(f) for f in store.episode(i).frames] for i in range(4)])
    np.testing.assert_array_equal(store.rewards[: len(numbers)], numbers % 5 / 2)
    np.testing.assert_array_equal(store.state[: len(numbers)], np.stack([numbers, -numbers], 1))
    assert store.state_names == ("a", "b")
    assert [bool(store.episode(i).terminated[-1]) for i in range(6)] == [False, True] + [False] * 4
    assert store.episode(5).info["first_frame"] == "30"
    assert "previous_action" in store.episode(5).info
    assert dropped(findings) == []


def test_frames_are_resized(tmp_path):
    source = write_v30(tmp_path / "in", [[5]], TOP)
    store, _ = run(source, tmp_path / "out", size=(12, 16))
    assert store.frame_shape == (12, 16, 3)
    assert assert_aligned(store) == [list(range(5))]


@pytest.mark.parametrize("wide", [False, True])
def test_whole_numbers_are_choices(tmp_path, wide):
    action = (lambda n: [n % 4, n % 2]) if wide else (lambda n: n % 4)
    feature = {"dtype": "int64", "shape": [2 if wide else 1], "names": ["gear", "horn"]}
    source = write_v30(
        tmp_path / "in", [[9]], TOP, "image", action=action, features={"action": feature}
    )
    store, _ = run(source, tmp_path / "out")
    assert store.action_spec.space == (spaces.MultiDiscrete([4, 2]) if wide else spaces.Discrete(4))
    assert_aligned(store, action)
    if wide:
        assert store.action_spec.describe(store.actions[3]) == "gear=3 horn=1"


def test_cameras_are_chosen_by_name(tmp_path):
    source = write_v21(tmp_path / "in", [4], {TOP: "video", "observation.images.wrist": "image"})
    with pytest.raises(DataError, match=r"these cameras: observation.images.top, .*--camera"):
        run(source, tmp_path / "out")
    with pytest.raises(DataError, match=r"no camera 'top'; there is: observation.images.top,"):
        run(source, tmp_path / "out", camera="top")
    store, _ = run(source, tmp_path / "out", camera="observation.images.wrist")
    assert assert_aligned(store) == [[0, 1, 2, 3]]


# -- our own -----------------------------------------------------------------------------------


def test_our_own_data_sets_come_back_identically(tmp_path):
    source = make_dataset(tmp_path / "in", [5, 6, 7, 8, 1, 4])
    store, findings = run(source, tmp_path / "out")
    before = open_store(source)
    assert store.info == before.info
    assert store.num_episodes == before.num_episodes
    assert len(before.episode(4).actions) == 1  # of a single frame
    for i in range(before.num_episodes):
        assert_equal(store.episode(i), before.episode(i))
    for name in ("train", "validation"):
        np.testing.assert_array_equal(store.split(name), before.split(name))
    assert dropped(findings) == []


def test_our_own_video_comes_back_but_for_the_compression(tmp_path):
    source = films.make_films(tmp_path / "in", [20, 9, 33])
    store, _ = run(source, tmp_path / "out")
    before = open_store(source)
    assert store.info == before.info
    for i in range(3):
        one, other = store.episode(i), before.episode(i)
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)
        np.testing.assert_array_equal(one.terminated, other.terminated)
        assert one.info == other.info
        np.testing.assert_array_equal(films.numbers_of(one.frames), films.numbers_of(other.frames))
        assert np.abs(one.frames.astype(int) - other.frames).mean() < 2


# -- damage ------------------------------------------------------------------------------------


def test_bad_episodes_are_one_line_each(tmp_path):
    source = write_v21(tmp_path / "in", [6] * 6, {TOP: "video"})
    data, videos = source / "data/chunk-000", source / f"videos/chunk-000/{TOP}"
    (data / "episode_000001.parquet").write_bytes(b"PAR1")
    (videos / "episode_000002.mp4").unlink()
    (videos / "episode_000003.mp4").write_bytes(b"no video")
    entries = (source / "meta/episodes.jsonl").read_text().splitlines()
    entries[4] = entries[4].replace('"length": 6', '"length": 8')
    entries[5] = entries[5].replace('"episode_index": 5', '"episode_index": "x"')
    (source / "meta/episodes.jsonl").write_text("\n".join(entries))
    store, findings = run(source, tmp_path / "out")
    assert assert_aligned(store) == [list(range(6))]
    lines = sorted(example for _, _, examples in dropped(findings) for example in examples)
    assert [line.partition(" ")[0] for line in lines] == [
        f"episode_00000{i}" for i in (1, 2, 3, 4, 5)
    ]
    assert lines[1] == f"episode_000002 (videos/chunk-000/{TOP}/episode_000002.mp4)"
    assert lines[3] == "episode_000004 (6 rows, 8 expected)"


def test_damaged_images_end_an_episode(tmp_path):
    source = write_v21(tmp_path / "in", [6] * 3, {TOP: "image"})
    for episode, row in ((0, 0), (1, 4)):
        path = source / f"data/chunk-000/episode_00000{episode}.parquet"
        rows = pq.read_table(path).to_pylist()
        rows[row][TOP]["bytes"] = rows[row][TOP]["bytes"][:40]
        pq.write_table(pa.Table.from_pylist(rows), path)
    store, findings = run(source, tmp_path / "out")
    assert assert_aligned(store) == [list(range(100, 104)), list(range(200, 206))]
    assert [(count, of) for count, of, _ in dropped(findings)] == [(2, "frames"), (1, "recordings")]
    (lost,), (gone,) = (examples for _, _, examples in dropped(findings))
    assert lost.startswith("episode_000001 (row 4: ")
    assert gone.startswith("episode_000000 (row 0: ")


def test_actions_that_are_not_finite_split_the_episode(tmp_path):
    def action(number):
        return [float("nan") if number == 4 else 0.5, 0.25]

    feature = {"dtype": "float32", "shape": [2], "names": None}
    source = write_v30(
        tmp_path / "in", [[10]], TOP, "image", action=action, features={"action": feature}
    )
    store, findings = run(source, tmp_path / "out")
    assert assert_aligned(store, action) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert dropped(findings) == [(1, "frames", ["episode_000000"])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebase_version": "v1.6"}, "LeRobotDataset v1.6; this reads v2.0, v2.1, v3.0"),
        ({"fps": 0}, "is damaged"),
        ({"features": []}, "is damaged"),
        ({"features": {"action": {"dtype": "float32"}}}, "these cameras: none"),
        ({"features": {TOP: {"dtype": "image", "shape": [4, 4, 3]}}}, "no column action"),
    ],
)
def test_damaged_descriptions_are_one_clear_error(tmp_path, change, message):
    source = write_v21(tmp_path / "in", [3], {TOP: "image"})
    path = source / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        run(source, tmp_path / "out")


def test_nothing_outside_the_source_is_read(tmp_path):
    source = write_v21(tmp_path / "in", [3, 4], {TOP: "image"})
    path = source / "meta/info.json"
    info = json.loads(path.read_text())
    secret = write_v21(tmp_path / "secret", [3, 4], {TOP: "image"})
    for template in (f"{secret}/data/x", "../secret/data/chunk-000/episode_{episode_index:06d}"):
        path.write_text(json.dumps(info | {"data_path": template + ".parquet"}))
        with pytest.raises(DataError, match="no usable episodes: leads out of the source"):
            run(source, tmp_path / "out")


def test_the_command(tmp_path, capsys):
    source = write_v30(tmp_path / "in", [[4]], TOP, "image")
    assert main(["lerobot", str(source), "--out", str(tmp_path / "out")]) == 0
    assert "1 of 1 recordings" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no LeRobotDataset"):
        main(["lerobot", str(tmp_path / "empty"), "--out", str(tmp_path / "other")])
