from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces
from PIL import Image

from tests.world_model.data.importing.recorder import number_frame, read_number
from tests.world_model.data.importing.running import imported
from world_model.data.importing.command import main
from world_model.data.importing.minari import Minari
from world_model.errors import DataError

HEIGHT, WIDTH = 24, 32
PIXELS = {"type": "Box", "dtype": "uint8", "shape": [HEIGHT, WIDTH, 3], "low": 0, "high": 255}
DISCRETE = {"type": "Discrete", "dtype": "int64", "n": 4, "start": 0}


def run(source: Path, out: Path, **settings: Any):
    return imported(Minari(source=source, out=out, **{"processes": 1, **settings}))


def pixels(episode: int, steps: int) -> np.ndarray:
    return np.stack([number_frame(100 * episode + t, HEIGHT, WIDTH) for t in range(steps + 1)])


def jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def raw_column(frames: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(frames.ravel()), HEIGHT * WIDTH * 3)


def write_metadata(root: Path, observations: dict, actions: dict, **more: Any) -> None:
    (root / "data").mkdir(parents=True, exist_ok=True)
    metadata = {
        "total_episodes": 2,
        "data_format": "arrow",
        "observation_space": json.dumps(observations),
        "action_space": json.dumps(actions),
        "dataset_id": "toy/numbers-v0",
        "env_spec": json.dumps({"id": "Toy-v3"}),
        **more,
    }
    (root / "data/metadata.json").write_text(json.dumps(metadata))


def write_arrow(root: Path, episode: int, steps: int, observations: pa.Array, actions: pa.Array):
    folder = root / "data" / str(episode)
    folder.mkdir(parents=True)
    numbers = np.arange(steps + 1)
    batch = pa.RecordBatch.from_pydict({
        "observations": observations,
        "actions": actions,
        "rewards": pa.array(numbers * 0.5),
        "terminations": pa.array((numbers == steps - 1) & (episode == 0)),
        "truncations": pa.array((numbers == steps - 1) & (episode == 1)),
    })  # fmt: skip
    with (
        pa.OSFile(str(folder / "part-0.arrow"), "wb") as file,
        pa.ipc.new_file(file, batch.schema) as writer,
    ):
        writer.write_batch(batch)
    (folder / "metadata.json").write_text(json.dumps({"id": episode, "total_steps": steps}))


def choices(steps: int) -> pa.Array:
    return pa.array([*(t % 4 for t in range(steps)), 0], pa.int32())


def toy(root: Path) -> Path:
    write_metadata(root, PIXELS, DISCRETE)
    for episode, steps in enumerate((6, 9)):
        frames = raw_column(pixels(episode, steps))
        write_arrow(root, episode, steps, frames, choices(steps))
    return root


def numbers_of(store, episode: int) -> list[int]:
    return [read_number(frame) for frame in store.episode(episode).frames]


def test_arrow_files(tmp_path):
    store, findings = run(toy(tmp_path / "in"), tmp_path / "out", fps=12)
    assert findings.rows("dropped") == []
    assert store.action_spec.space == spaces.Discrete(4)
    assert (store.fps, store.source["environment"]) == (12, "Toy-v3")
    for i, steps in enumerate((6, 9)):
        episode = store.episode(i)
        np.testing.assert_array_equal(episode.frames, pixels(i, steps))
        np.testing.assert_array_equal(episode.actions[:, 0], np.arange(steps) % 4)
        np.testing.assert_array_equal(episode.rewards, np.arange(steps) / 2)
        assert (episode.terminated[-1], episode.truncated[-1]) == (i == 0, i == 1)


@pytest.mark.parametrize("kind", [pa.binary(), pa.list_(pa.uint8())])
def test_jpegs_among_other_observations(tmp_path, kind):
    names = {"eye": PIXELS, "speed": {"type": "Box", "dtype": "float32", "shape": [1],
                                      "low": -1.0, "high": 1.0}}  # fmt: skip
    action = {"type": "Dict", "subspaces": {
        "turn": {"type": "Box", "dtype": "float32", "shape": [2], "low": [-1, -2], "high": [1, 2]},
        "fire": {"type": "Discrete", "dtype": "int64", "n": 2, "start": 0},
    }}  # fmt: skip
    write_metadata(tmp_path / "in", {"type": "Dict", "subspaces": names}, action)
    for i, steps in enumerate((4, 5)):
        files = [jpeg(frame) for frame in pixels(i, steps)]
        eyes = pa.array([list(f) if pa.types.is_list(kind) else f for f in files], kind)
        speed = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(steps + 1, np.float32)), 1)
        turn = np.linspace(-1, 1, 2 * steps + 2, dtype=np.float32)
        parts = [pa.FixedSizeListArray.from_arrays(pa.array(turn), 2),
                 pa.array([t % 2 for t in range(steps + 1)], pa.int32())]  # fmt: skip
        observations = pa.StructArray.from_arrays([eyes, speed], names=["eye", "speed"])
        actions = pa.StructArray.from_arrays(parts, names=["turn", "fire"])
        write_arrow(tmp_path / "in", i, steps, observations, actions)
    store, _ = run(tmp_path / "in", tmp_path / "out")
    assert numbers_of(store, 1) == [100 + t for t in range(6)]
    action_at_1 = store.action_spec.decode(store.actions[1])
    assert action_at_1["fire"] == 1
    np.testing.assert_allclose(action_at_1["turn"], np.linspace(-1, 1, 10)[2:4], rtol=1e-6)
    with pytest.raises(DataError, match="these images: eye, of eye, speed"):
        run(tmp_path / "in", tmp_path / "other", key="speed")


def jpegs_as_large_as_pixels(episode: int, steps: int) -> np.ndarray:
    """Files filled up to the size of their pixels, which must not be taken for these."""
    files = [jpeg(frame).ljust(HEIGHT * WIDTH * 3, b"\0") for frame in pixels(episode, steps)]
    return np.stack([np.frombuffer(file, np.uint8) for file in files])


class FakeGroup(dict):
    """What of an h5py.Group is used."""

    attrs = {"seed": np.int64(5)}


class FakeFile(dict):
    """What of an h5py.File is used."""

    def __init__(self, path, mode):
        super().__init__(self.content)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        pass


def test_hdf5_files(tmp_path, monkeypatch):
    write_metadata(tmp_path / "in", PIXELS, DISCRETE, data_format="hdf5")
    (tmp_path / "in/data/main_data.hdf5").write_bytes(b"hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match="pip install h5py"):
        run(tmp_path / "in", tmp_path / "out")
    steps = 11
    FakeFile.content = {
        f"episode_{i}": FakeGroup(
            observations=pixels(i, steps) if i == 9 else jpegs_as_large_as_pixels(i, steps),
            actions=np.arange(steps) % 4,
            rewards=np.ones(steps),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, bool),
        )
        for i in (10, 9)
    }
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=FakeFile))
    store, _ = run(tmp_path / "in", tmp_path / "out")
    assert [numbers_of(store, i)[0] for i in range(2)] == [900, 1000]
    np.testing.assert_array_equal(store.episode(0).actions[:, 0], np.arange(steps) % 4)
    assert store.terminated.sum() == 2
    assert store.episode(0).info["seed"] == "5"


def test_bad_episodes_are_one_line_each(tmp_path):
    source = toy(tmp_path / "in")
    write_metadata(source, PIXELS, DISCRETE, total_episodes=5)
    (source / "data/0/part-0.arrow").write_bytes(b"ARROW1 and then nothing")
    wrong = pa.array([0.5] * 4, pa.float64())
    write_arrow(source, 2, 3, raw_column(pixels(2, 3)), pa.array(["left"] * 4))
    write_arrow(source, 3, 3, wrong, choices(3))
    store, findings = run(source, tmp_path / "out")
    assert store.num_episodes == 1
    lines = sorted(example for row in findings.rows("dropped") for example in row["examples"])
    assert [line.partition(" ")[0] for line in lines] == [f"episode_00000{i}" for i in (0, 2, 3, 4)]
    assert lines[2] == "episode_000003 (observation 0: it is float64, not uint8)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_space": json.dumps(DISCRETE)}, "not images uint8"),
        ({"action_space": json.dumps({"type": "Text"})}, "unknown kind 'Text'"),
        ({"action_space": "{"}, "cannot be read"),
    ],
)
def test_spaces_that_no_world_has(tmp_path, change, message):
    source = toy(tmp_path / "in")
    path = source / "data/metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        run(source, tmp_path / "out")


def test_the_command(tmp_path, capsys):
    source = toy(tmp_path / "in")
    assert main(["minari", str(source), "--out", str(tmp_path / "out")]) == 0
    assert "2 of 2 recordings" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no Minari data set"):
        main(["minari", str(tmp_path / "empty"), "--out", str(tmp_path / "other")])
