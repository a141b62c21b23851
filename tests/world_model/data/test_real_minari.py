"""Our importer and exporter against Minari itself, where it is installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from rich.console import Console

from tests.world_model.data.importing.running import imported
from world_model.action_spec import ActionSpec
from world_model.data import open_store
from world_model.data.exporting.command import ExportCommand, run
from world_model.data.importing.minari import Minari
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import write_dataset
from world_model.errors import DataError
from world_model.types import Episode

minari = pytest.importorskip("minari", minversion="0.5.4")
pytestmark = pytest.mark.filterwarnings("ignore:.* set to None", "ignore:env_spec is None")

# Not below 32 pixels: from there on Minari takes pixels for a picture, and stores JPEGs.
PIXELS = spaces.Box(0, 255, (36, 40, 3), np.uint8)
ACTIONS = {
    "discrete": spaces.Discrete(4, start=2),
    "multi-discrete": spaces.MultiDiscrete([[3, 4], [2, 5]]),
    "multi-binary": spaces.MultiBinary((2, 2)),
    "tuple": spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(2)]),
    "dict": spaces.Dict(
        {
            "z": spaces.Discrete(3),
            "camera": spaces.Box(-1, 1, (2, 2), np.float32),
            "keys": spaces.Dict({"q": spaces.MultiDiscrete([2, 3])}),
        }
    ),
}
LENGTHS = (4, 7, 1)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def at(values: Any, t: int) -> Any:
    """Element t of an array, or of all arrays of a nest."""
    if isinstance(values, dict):
        return {key: at(value, t) for key, value in values.items()}
    return tuple(at(value, t) for value in values) if isinstance(values, tuple) else values[t]


def stacked(values: list[Any]) -> Any:
    """A list of nests as a nest of lists."""
    if isinstance(values[0], dict):
        return {key: stacked([value[key] for value in values]) for key in values[0]}
    if isinstance(values[0], tuple):
        return tuple(stacked(list(part)) for part in zip(*values, strict=True))
    return list(values)


def assert_same_episode(ours: Episode, theirs: Any, spec: ActionSpec, frames: Any) -> None:
    np.testing.assert_array_equal(ours.frames, frames)
    assert len(ours.actions) == len(theirs)
    for t, vector in enumerate(ours.actions):
        action = at(theirs.actions, t)
        np.testing.assert_array_equal(spec.encode(action), vector)
    np.testing.assert_array_equal(ours.rewards, theirs.rewards.astype(np.float32))
    np.testing.assert_array_equal(ours.terminated, theirs.terminations)
    np.testing.assert_array_equal(ours.truncated, theirs.truncations)


# -- what Minari wrote -------------------------------------------------------------------------


def buffers(actions: spaces.Space, observations: spaces.Space) -> list[Any]:
    """Episodes of samples; the last one is truncated."""
    from minari.data_collector import EpisodeBuffer

    actions.seed(1)
    observations.seed(2)
    made = []
    for i, steps in enumerate(LENGTHS):
        last = np.arange(steps) == steps - 1
        made.append(
            EpisodeBuffer(
                id=i,
                seed=100 + i,
                observations=stacked([observations.sample() for _ in range(steps + 1)]),
                actions=stacked([actions.sample() for _ in range(steps)]),
                rewards=list(np.linspace(-1, 1, steps) * (i + 1)),
                terminations=list(last & (i < 2)),
                truncations=list(last & (i == 2)),
            )
        )
    return made


@pytest.mark.parametrize(("jpeg", "kind"), [(True, "discrete"), *((False, k) for k in ACTIONS)])
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_what_minari_writes_is_imported(tmp_path, root, data_format, jpeg, kind):
    if data_format == "hdf5":
        pytest.importorskip("h5py")
    observations = spaces.Dict({"speed": spaces.Box(-1, 1, (2,)), "eye": PIXELS})
    dataset = minari.create_dataset_from_buffers(
        "tests/pixels-v0",
        buffers(ACTIONS[kind], observations),
        action_space=ACTIONS[kind],
        observation_space=observations,
        description="samples",
        data_format=data_format,
        jpeg_encoding=jpeg,
    )
    source = Minari(source=root / "tests/pixels-v0", out=tmp_path / "out", processes=1)
    store, findings = imported(source)
    assert findings.rows("dropped") == []
    assert store.num_episodes == len(LENGTHS)
    for i, theirs in enumerate(dataset.iterate_episodes()):
        ours = store.episode(i)
        assert_same_episode(ours, theirs, store.action_spec, theirs.observations["eye"])
        assert ours.info["seed"] == str(100 + i)


class Flashes(gym.Env):
    """Shows noise; its seventh step terminates."""

    observation_space = PIXELS
    action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return self._look(), {}

    def step(self, action):
        self.step_number += 1
        return self._look(), float(action), self.step_number == 7, False, {}

    def _look(self):
        return self.np_random.integers(0, 256, PIXELS.shape, np.uint8)


def test_what_minari_collects_is_imported(tmp_path, root):
    pytest.importorskip("jax")
    env = minari.DataCollector(Flashes(), data_format="arrow", jpeg_encoding=False)
    for seed, steps in enumerate((7, 3)):
        env.reset(seed=seed)
        for t in range(steps):
            env.step(t % 4)
    dataset = env.create_dataset("tests/flashes-v0", description="noise")
    source = Minari(source=root / "tests/flashes-v0", out=tmp_path / "out", processes=1)
    store, _ = imported(source)
    for i, theirs in enumerate(dataset.iterate_episodes()):
        assert_same_episode(store.episode(i), theirs, store.action_spec, theirs.observations)
    # Minari truncates what it sees no end of.
    ends = [(e.terminated[-1], e.truncated[-1]) for e in map(store.episode, range(2))]
    assert ends == [(True, False), (False, True)]


# -- what Minari reads -------------------------------------------------------------------------


def ours(path: Path, space: spaces.Space) -> Path:
    """A data set of samples; the last action of episode 1 has no frame, episode 3 no action."""
    spec = ActionSpec.from_space(space)
    info = DatasetInfo(spec, PIXELS.shape, 10.0, source={"name": "Dots 2.0"})
    rng = np.random.default_rng(3)
    space.seed(4)

    def episode(i: int, steps: int) -> Episode:
        frames = rng.integers(0, 256, (steps + (i != 1), *PIXELS.shape), np.uint8)
        last = np.arange(steps) == steps - 1
        return Episode(
            frames=frames,
            actions=np.array([spec.encode(space.sample()) for _ in range(steps)], np.float32)
            .reshape(steps, spec.dim),
            rewards=rng.normal(size=steps).astype(np.float32),
            terminated=last & (i < 2),
            truncated=last & (i >= 2),
            state=np.zeros((len(frames), 0), np.float32),
            info={"seed": str(2**40 + i)},
        )  # fmt: skip

    return write_dataset(path, [episode(i, n) for i, n in enumerate((*LENGTHS, 0))], info)


def export(data: Path, out: Path) -> None:
    run(ExportCommand(data, "minari", out), Console(quiet=True))


@pytest.mark.parametrize("kind", ACTIONS)
def test_minari_reads_what_is_exported(tmp_path, root, kind):
    data = ours(tmp_path / "data", ACTIONS[kind])
    export(data, root / "nfd/dots-v0")
    assert list(minari.list_local_datasets()) == ["nfd/dots-v0"]
    dataset = minari.load_dataset("nfd/dots-v0")
    assert (dataset.action_space, dataset.observation_space) == (ACTIONS[kind], PIXELS)
    assert (dataset.total_episodes, dataset.total_steps) == (3, sum(LENGTHS))
    metadata = list(dataset.storage.get_episode_metadata(range(3)))
    store = open_store(data)
    for i, theirs in enumerate(dataset.iterate_episodes()):
        episode = store.episode(i)
        repeated = [episode.frames[-1:]] if i == 1 else []  # there is always one more
        frames = np.concatenate([episode.frames, *repeated])
        assert_same_episode(replace(episode, frames=frames), theirs, store.action_spec,
                            theirs.observations)  # fmt: skip
        assert all(dataset.action_space.contains(at(theirs.actions, t)) for t in range(len(theirs)))
        assert metadata[i]["seed"] == 2**40 + i
    assert len(dataset.sample_episodes(2)) == 2
    back = Minari(source=root / "nfd/dots-v0", out=tmp_path / "back", processes=1)
    assert imported(back)[0].info == store.info


def test_names_that_minari_knows(tmp_path, root):
    data = ours(tmp_path / "data", ACTIONS["discrete"])
    with pytest.raises(DataError, match=r"is 'dots' among Minari's data sets.*nfd/my-game-v0"):
        export(data, root / "dots")
    export(data, tmp_path / "elsewhere")
    dataset = minari.MinariDataset(tmp_path / "elsewhere/data")
    assert dataset.spec.dataset_id == "nfd/Dots-2-0-v0"
