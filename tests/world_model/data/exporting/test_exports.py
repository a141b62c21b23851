from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import RevisionNotFoundError
from rich.console import Console

from tests.world_model.data import films
from tests.world_model.data.episodes import INFO, assert_equal, make_dataset, make_episode
from tests.world_model.data.importing.recorder import vpt_segment
from world_model.data import open_store
from world_model.data.exporting.command import ExportCommand, main, run
from world_model.data.importing.folder import Folder
from world_model.data.importing.importer import import_recordings, open_writer
from world_model.data.importing.lerobot import LeRobot
from world_model.data.importing.minari import Minari
from world_model.data.importing.recordings import ImportFormat
from world_model.data.importing.vpt import VPT
from world_model.data.writer import write_dataset
from world_model.errors import DataError

LENGTHS = [5, 6, 7, 8, 1, 4]
PLAIN = replace(INFO, label_classes={})


def export(data: Path, kind: Any, out: Path, api=None, **settings: Any) -> Path:
    run(ExportCommand(data, kind, out, **settings), Console(quiet=True), api=api)
    return out


def read_back(recordings: ImportFormat):
    recordings.check()
    plan = recordings.plan()
    findings = import_recordings(recordings, plan, open_writer(recordings, plan))
    assert findings.rows("dropped") == []
    return open_store(recordings.out)


def assert_same_episodes(one, other) -> None:
    assert one.info == other.info
    assert one.num_episodes == other.num_episodes
    for i in range(one.num_episodes):
        assert_equal(one.episode(i), other.episode(i))


def json_of(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def data(tmp_path):
    episodes = [make_episode(i, n, missing=i % 3 != 0, info=PLAIN) for i, n in enumerate(LENGTHS)]
    return write_dataset(tmp_path / "data", episodes, PLAIN, shard_episodes=4)


# -- LeRobot -----------------------------------------------------------------------------------


def test_lerobot_and_back(tmp_path):
    data = make_dataset(tmp_path / "data", LENGTHS)  # with labels
    out = export(data, "lerobot", tmp_path / "out")
    info = json_of(out / "meta/info.json")
    assert "nfd" not in info
    assert info["codebase_version"] == "v3.0"
    assert "observation.image" not in info["features"]
    feature = info["features"]["observation.images.main"]
    assert (feature["dtype"], feature["shape"]) == ("image", [6, 8, 3])
    table = pq.read_table(out / "data/chunk-000/file-000.parquet")
    assert set(table.column_names) == set(info["features"])
    before = pq.read_table(data / "data/chunk-000/file-000.parquet")
    column = table.column("observation.images.main")
    assert column.to_pylist() == before.column("observation.image").to_pylist()
    assert "observation.images.main" in json_of(out / "meta/stats.json")
    back = read_back(LeRobot(source=out, out=tmp_path / "back", processes=1))
    assert_same_episodes(back, open_store(data))


def test_plain_lerobot_has_nothing_of_ours(tmp_path, data):
    out = export(data, "lerobot", tmp_path / "out", plain=True, camera="observation.images.eye")
    info = json_of(out / "meta/info.json")
    assert "nfd" not in json.dumps(info)
    tables = [pq.read_table(path) for path in sorted((out / "data/chunk-000").iterdir())]
    table = pa.concat_tables(tables)
    assert set(table.column_names) == set(info["features"]) == {
        "observation.images.eye", "observation.state", "action", "next.reward", "next.done",
        "next.truncated", "timestamp", "frame_index", "episode_index", "index", "task_index",
    }  # fmt: skip
    # A row for each action.
    taken = [n if i % 3 else n - 1 for i, n in enumerate(LENGTHS)]
    assert info["total_frames"] == table.num_rows == sum(taken)
    np.testing.assert_array_equal(table.column("index").to_numpy(), np.arange(sum(taken)))
    entries = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [entry["length"] for entry in entries] == taken
    assert entries[-1]["dataset_to_index"] == sum(taken)
    assert not any(name.startswith("nfd/") for name in entries[0])
    # LeRobot makes the statistics of parts of a data set from those of their episodes.
    stats, whole = entries[2], json_of(out / "meta/stats.json")
    actions = open_store(data).episode(2).actions
    assert stats["stats/action/count"] == [len(actions)]
    np.testing.assert_allclose(stats["stats/action/mean"], actions.mean(axis=0))
    pixels = [entry["stats/observation.images.eye/count"][0] for entry in entries]
    assert sum(pixels) == whole["observation.images.eye"]["count"][0]
    assert pixels == [n * 6 * 8 for n in LENGTHS]
    back = read_back(LeRobot(source=out, out=tmp_path / "back", processes=1))
    before = open_store(data)
    for i, count in enumerate(taken):
        one, other = back.episode(i), before.episode(i)
        np.testing.assert_array_equal(one.frames, other.frames[:count])
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)
        np.testing.assert_array_equal(one.terminated, other.terminated)


def test_lerobot_video_is_copied(tmp_path):
    data = films.make_films(tmp_path / "data", [20, 9, 33])
    for plain in (False, True):
        out = export(data, "lerobot", tmp_path / f"out-{plain}", plain=plain)
        for i in range(2):
            name = f"chunk-000/file-{i:03d}.mp4"
            copy = out / "videos/observation.images.main" / name
            assert copy.read_bytes() == (data / "videos/observation.image" / name).read_bytes()
        back = read_back(LeRobot(source=out, out=tmp_path / f"back-{plain}", processes=1))
        before = open_store(data)
        for i in range(3):
            one, other = back.episode(i), before.episode(i)
            np.testing.assert_array_equal(one.actions, other.actions)
            count = len(other.frames) - plain
            numbers = films.numbers_of(other.frames)[:count]
            np.testing.assert_array_equal(films.numbers_of(one.frames), numbers)


# -- Minari ------------------------------------------------------------------------------------


def test_minari_and_back(tmp_path, data):
    out = export(data, "minari", tmp_path / "out")
    metadata = json_of(out / "data/metadata.json")
    assert (metadata["total_episodes"], metadata["data_format"]) == (6, "arrow")
    # One observation more than actions, always.
    with pa.OSFile(str(out / "data/1/part-0.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert (table.num_rows, json_of(out / "data/1/metadata.json")["total_steps"]) == (7, 6)
    assert table.column("observations").type == pa.list_(pa.uint8(), 6 * 8 * 3)
    back = read_back(Minari(source=out, out=tmp_path / "back", processes=1))
    assert_same_episodes(back, open_store(data))


def test_recordings_of_minecraft_through_minari(tmp_path):
    vpt_segment(tmp_path / "in/8.0/a", 25)
    first = read_back(
        VPT(source=tmp_path / "in", out=tmp_path / "set", size=(9, 16), max_steps=10, processes=1)
    )
    out = export(tmp_path / "set", "minari", tmp_path / "out")
    assert_same_episodes(
        read_back(Minari(source=out, out=tmp_path / "back", processes=1)), first
    )  # fmt: skip


# -- video -------------------------------------------------------------------------------------


def test_video_and_back(tmp_path):
    data = films.make_films(tmp_path / "data", [20, 9, 33])
    out = export(data, "video", tmp_path / "out")
    assert sorted(path.name for path in out.iterdir())[-1] == "schema.json"
    folder = Folder(
        source=out, out=tmp_path / "back", size=(96, 160), schema=out / "schema.json", processes=1
    )
    back, before = read_back(folder), open_store(data)
    for i in range(3):
        one, other = back.episode(i), before.episode(i)
        for name in ("actions", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        np.testing.assert_array_equal(films.numbers_of(one.frames), films.numbers_of(other.frames))
        assert np.abs(one.frames.astype(int) - other.frames).mean() < 3


def test_an_action_without_a_frame_survives_as_video(tmp_path, data):
    out = export(data, "video", tmp_path / "out")
    folder = Folder(
        source=out, out=tmp_path / "back", size=(6, 8), schema=out / "schema.json", processes=1
    )
    back, before = read_back(folder), open_store(data)
    assert back.action_spec.groups[0].labels == ("stay", "right", "left")
    for i in range(len(LENGTHS)):
        for name in ("actions", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(
                getattr(back.episode(i), name), getattr(before.episode(i), name)
            )
        assert back.episode(i).frames.shape == before.episode(i).frames.shape


# -- the command -------------------------------------------------------------------------------


class NoTagError(RevisionNotFoundError):
    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)


class FakeHub:
    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple] = []
        self.error = error

    def create_repo(self, repo_id, **settings):
        self.calls.append(("create", repo_id, settings))

    def upload_large_folder(self, repo_id, folder_path, **settings):
        if self.error is not None:
            raise self.error
        files = sorted(p.name for p in Path(folder_path).rglob("*") if p.is_file())
        self.calls.append(("upload", repo_id, files, settings))

    def delete_tag(self, repo_id, **settings):
        self.calls.append(("delete", repo_id, settings))
        raise NoTagError("there is none yet")

    def create_tag(self, repo_id, **settings):
        self.calls.append(("tag", repo_id, settings))


def test_results_are_pushed_to_the_hub(tmp_path, data):
    hub = FakeHub()
    export(data, "lerobot", tmp_path / "out", api=hub, push_to_hub="me/set", private=True)
    create, upload, _, tag = hub.calls
    assert create[1:] == (
        "me/set", {"repo_type": "dataset", "private": True, "exist_ok": True}
    )  # fmt: skip
    assert {"README.md", "info.json", "tasks.parquet"} <= set(upload[2])
    assert upload[3] == {"repo_type": "dataset"}
    assert tag == ("tag", "me/set", {"tag": "v3.0", "repo_type": "dataset"})
    export(data, "minari", tmp_path / "minari", api=hub, push_to_hub="me/other")
    assert [call[0] for call in hub.calls[4:]] == ["create", "upload"]
    with pytest.raises(DataError, match=r"could not upload .* to me/set: no route"):
        export(
            data, "lerobot", tmp_path / "x", api=FakeHub(OSError("no route")), push_to_hub="me/set"
        )


def test_what_cannot_be_exported(tmp_path, data, capsys):
    odd = replace(PLAIN, frame_shape=(5, 8, 3))
    write_dataset(tmp_path / "odd", [make_episode(0, 3, info=odd)], odd)
    with pytest.raises(DataError, match="8x5 pixels cannot be video"):
        export(tmp_path / "odd", "video", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(DataError, match="is not empty"):
        export(data, "minari", tmp_path / "full")
    with pytest.raises(DataError, match=r"must be like observation\.images\.main"):
        export(data, "lerobot", tmp_path / "out", camera="../top")
    assert main([str(data), "minari", "--out", str(tmp_path / "good")]) == 0
    assert "6 episodes, 31 frames" in capsys.readouterr().out
    (data / "data/chunk-000/file-001.parquet").unlink()
    with pytest.raises(DataError, match="should have 31 frames"):
        export(data, "minari", tmp_path / "other")
