"""Our importer and exporter against LeRobot itself, where it is installed.

LeRobot 0.4.4 writes columns of one number with NumPy below 2.4 only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.world_model.data import films
from tests.world_model.data.episodes import INFO, make_episode
from tests.world_model.data.importing.recorder import number_frame, read_number
from tests.world_model.data.importing.running import imported
from world_model.data import EpisodeStore, open_store
from world_model.data.exporting.command import ExportCommand, run
from world_model.data.importing.lerobot import LeRobot
from world_model.data.writer import write_dataset

lerobot = pytest.importorskip("lerobot.datasets.lerobot_dataset", exc_type=ImportError)
LENGTHS = (6, 4, 9)
HEIGHT, WIDTH = 48, 64
SCALAR = {"shape": (1,), "names": None}


def loaded(root: Path, **settings: Any) -> Any:
    return lerobot.LeRobotDataset("me/set", root=root, video_backend="pyav", **settings)


def picture(tensor: Any) -> np.ndarray:
    """uint8 (H, W, 3) of what LeRobot gives."""
    return (tensor * 255).round().byte().permute(1, 2, 0).numpy()


# -- what LeRobot wrote ------------------------------------------------------------------------


def write(root: Path, kind: str, action: dict[str, Any], state: bool) -> list[list[dict]]:
    """Numbered frames and what was done at them; episode 1 does not come to its end."""
    features: dict[str, Any] = {
        "observation.images.top": {
            "dtype": kind,
            "shape": (HEIGHT, WIDTH, 3),
            "names": ["height", "width", "channels"],
        },
        "action": action,
        "next.reward": {"dtype": "float32", **SCALAR},
        "next.done": {"dtype": "bool", **SCALAR},
    }
    if state:
        names = {"motors": ["shoulder", "elbow"]}
        features["observation.state"] = {"dtype": "float32", "shape": (2,), "names": names}
    dataset = lerobot.LeRobotDataset.create(
        "me/set", fps=20, features=features, root=root, use_videos=kind == "video", vcodec="h264"
    )
    rng = np.random.default_rng(0)
    episodes = []
    for i, length in enumerate(LENGTHS):
        rows = []
        for t in range(length):
            drawn = rng.integers(0, 5, action["shape"]) if "int" in action["dtype"] else (
                rng.uniform(-2, 2, action["shape"]))  # fmt: skip
            row = {
                "observation.images.top": number_frame(100 * i + t, HEIGHT, WIDTH),
                "action": drawn.astype(action["dtype"]),
                "next.reward": np.float32([t / 2]),
                "next.done": np.array([t == length - 1 and i != 1]),
            }
            if state:
                row["observation.state"] = rng.normal(size=2).astype(np.float32)
            rows.append(row)
            dataset.add_frame({**row, "task": "walk" if i == 2 else "stack"})
        dataset.save_episode()
        episodes.append(rows)
    dataset.finalize()
    return episodes


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize(
    "action",
    [
        {"dtype": "float32", "shape": (3,), "names": ["x", "y", "grip"]},
        {"dtype": "int64", "shape": (1,), "names": None},
    ],
)
@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.filterwarnings("ignore:Converting input from bool")
def test_what_lerobot_writes_is_imported(tmp_path, kind, action, state):
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        pytest.skip("LeRobot 0.4.4 cannot write scalars with this NumPy")
    written = write(tmp_path / "in", kind, action, state)
    store, findings = imported(LeRobot(source=tmp_path / "in", out=tmp_path / "out", processes=1))
    assert findings.rows("dropped") == []
    assert (store.num_episodes, store.fps) == (len(LENGTHS), 20)
    assert store.info.state_names == (("shoulder", "elbow") if state else ())
    for i, rows in enumerate(written):
        episode = store.episode(i)
        assert len(episode.frames) == len(episode.actions) == len(rows)
        assert [read_number(frame) for frame in episode.frames] == [
            100 * i + t for t in range(len(rows))
        ]
        if kind == "image":
            pixels = [row["observation.images.top"] for row in rows]
            np.testing.assert_array_equal(episode.frames, np.stack(pixels))
        np.testing.assert_array_equal(episode.actions, np.stack([row["action"] for row in rows]))
        rewards = np.concatenate([row["next.reward"] for row in rows])
        np.testing.assert_array_equal(episode.rewards, rewards)
        assert (episode.terminated[-1], episode.truncated[-1]) == (i != 1, i == 1)
        assert episode.info["task"] == ("walk" if i == 2 else "stack")
        if state:
            states = np.stack([row["observation.state"] for row in rows])
            np.testing.assert_array_equal(episode.state, states)


# -- what LeRobot reads ------------------------------------------------------------------------


def assert_lerobot_sees(dataset: Any, store: EpisodeStore, plain: bool, loss: int) -> None:
    (camera,) = dataset.meta.camera_keys
    assert (dataset.fps, dataset.num_episodes) == (store.fps, store.num_episodes)
    row = 0
    for i in range(store.num_episodes):
        episode, bounds = store.episode(i), dataset.meta.episodes[i]
        length = len(episode.actions) if plain else len(episode.frames)
        assert bounds["length"] == length
        assert (bounds["dataset_from_index"], bounds["dataset_to_index"]) == (row, row + length)
        for t in range(length):
            item = dataset[row + t]
            difference = picture(item[camera]).astype(int) - episode.frames[t]
            assert np.abs(difference).max() <= loss
            assert item["timestamp"].item() == pytest.approx(t / store.fps)
            assert (item["episode_index"], item["frame_index"], item["index"]) == (i, t, row + t)
            assert item["task"] == store.info.task
            if t < len(episode.actions):
                action = np.atleast_1d(item["action"].numpy())
                np.testing.assert_array_equal(action, episode.actions[t])
                assert item["next.reward"] == episode.rewards[t]
                assert item["next.truncated"] == episode.truncated[t]
                done = item["next.done"] if plain else item["next.terminated"]
                assert done == (episode.terminated[t] or (plain and episode.truncated[t]))
        row += length
    assert len(dataset) == row


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("fps", [8.75, 30000 / 1001])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_lerobot_reads_what_is_exported(tmp_path, kind, fps, plain):
    if kind == "image":
        info = replace(INFO, fps=fps, task="collect stars", label_classes={})
        episodes = [make_episode(i, n, missing=i != 1, info=info) for i, n in enumerate(LENGTHS)]
    else:
        info = replace(films.INFO, fps=fps)
        episodes = [films.make_film(100 * i, n, info) for i, n in enumerate(LENGTHS)]
    data = write_dataset(tmp_path / "data", episodes, info, shard_episodes=2)
    run(ExportCommand(data, "lerobot", tmp_path / "out", plain=plain), Console(quiet=True))
    store = open_store(data)
    assert_lerobot_sees(loaded(tmp_path / "out"), store, plain, loss=0 if kind == "image" else 8)
    # Some of the episodes, and frames before and after.
    part = loaded(tmp_path / "out", episodes=[1], delta_timestamps={"action": [0.0, 1 / fps]})
    np.testing.assert_array_equal(
        part[0]["action"].numpy().reshape(2, -1), store.episode(1).actions[:2]
    )


def test_lerobot_reads_our_own_data_sets_and_agrees_on_their_statistics(tmp_path):
    info = replace(INFO, label_classes={})
    episodes = [make_episode(i, n, info=info) for i, n in enumerate(LENGTHS)]
    data = write_dataset(tmp_path / "data", episodes, info, shard_episodes=2)
    dataset = loaded(data)
    assert_lerobot_sees(dataset, open_store(data), plain=False, loss=0)
    pixels = np.concatenate([episode.frames for episode in episodes]) / 255
    columns = {
        "action": np.concatenate([e.actions for e in episodes]),
        "next.reward": np.concatenate([e.rewards for e in episodes])[:, None],
        "observation.state": np.concatenate([e.state for e in episodes]),
        "observation.image": pixels.reshape(-1, 3),
    }
    for name, values in columns.items():
        theirs = lerobot.compute_episode_stats(
            {name: values.astype(np.float32)},
            {name: {"dtype": "float32", "shape": values.shape[1:]}},
        )[name]
        for statistic in ("min", "max", "mean", "std", "count"):
            ours = dataset.meta.stats[name][statistic]
            assert ours.shape[0] == theirs[statistic].shape[0], (name, statistic)
            np.testing.assert_allclose(ours.ravel(), theirs[statistic].ravel(), atol=1e-6)
    assert dataset.meta.stats["observation.image"]["mean"].shape == (3, 1, 1)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_lerobot_takes_exports_apart_and_knows_the_statistics_of_the_parts(tmp_path, kind):
    from lerobot.datasets.dataset_tools import delete_episodes

    info = replace(INFO, label_classes={}) if kind == "image" else films.INFO
    make = make_episode if kind == "image" else films.make_film
    episodes = [make(20 * i, n, info=info) for i, n in enumerate(LENGTHS)]
    data = write_dataset(tmp_path / "data", episodes, info, shard_episodes=2)
    run(ExportCommand(data, "lerobot", tmp_path / "out", plain=True), Console(quiet=True))
    part = delete_episodes(loaded(tmp_path / "out"), [1], tmp_path / "part", "me/part")
    stats = loaded(tmp_path / "part").meta.stats
    actions = np.concatenate([episodes[i].actions for i in (0, 2)])
    for name, expected in (("mean", actions.mean()), ("std", actions.std()), ("max", 2.0)):
        np.testing.assert_allclose(stats["action"][name], [expected], atol=1e-6)
    assert stats["action"]["count"] == len(actions) == len(part)
    assert stats["observation.images.main"]["mean"].shape == (3, 1, 1)
