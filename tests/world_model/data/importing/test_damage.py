"""Files with random damage: what is imported is right, the rest is reported, nothing breaks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.world_model.data.importing.recorder import (
    minerl_stream,
    mouse_of,
    read_number,
    vpt_line,
    vpt_segment,
)
from world_model.data import open_store
from world_model.data.importing.importer import import_recordings, open_writer
from world_model.data.importing.minerl import MineRL
from world_model.data.importing.vpt import VPT

LENGTH = 60
FLIPS = 12


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """``data`` cut short, or with bytes changed, deleted, inserted or zeroed somewhere."""
    at, many = int(rng.integers(len(data))), int(rng.integers(1, 400))
    if kind == "cut":
        return data[:at]
    if kind == "deleted":
        return data[:at] + data[at + many :]
    if kind == "inserted":
        return data[:at] + rng.bytes(many) + data[at:]
    if kind == "zeroed":
        return data[:at] + bytes(min(many, len(data) - at)) + data[at + many :]
    changed = bytearray(data)
    for _ in range(FLIPS):
        changed[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(changed)


def check(store, leading: int) -> None:
    """Fails if any frame is another than it should be, or actions are shifted."""
    names = {store.episode(i).info["recording"] for i in range(store.num_episodes)}
    assert any(name.endswith("good") for name in names), "the rest was not imported"
    column = [group.name for group in store.action_spec.groups].index("camera")
    other = 0
    for i in range(store.num_episodes):
        episode = store.episode(i)
        first = int(episode.info["first_frame"]) - leading
        numbers = [read_number(frame) for frame in episode.frames]
        assert numbers == list(range(first, first + len(numbers)))
        for number, vector in zip(numbers, episode.actions, strict=False):
            dx, dy = mouse_of(number)
            other += not np.allclose(vector[column : column + 2], (dy * 0.15, dx * 0.15), atol=1e-4)
    # A changed byte can turn a digit into another, which no reader can tell.
    assert other <= FLIPS


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("originals")
    vpt_segment(root / "vpt/bad", LENGTH)
    vpt_segment(root / "vpt/fast", LENGTH, options={"movflags": "faststart"})
    vpt_segment(root / "vpt/good", 4)
    minerl_stream(root / "minerl/T/bad", LENGTH, leading=3)
    minerl_stream(root / "minerl/T/good", 4, leading=3)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "changed", "deleted", "inserted", "zeroed"])
@pytest.mark.parametrize(
    "name",
    ["vpt/bad.mp4", "vpt/fast.mp4", "vpt/bad.jsonl", "minerl/T/bad/recording.mp4",
     "minerl/T/bad/rendered.npz", "minerl/T/bad/metadata.json"],
)  # fmt: skip
def test_random_damage(originals, tmp_path, name, kind):
    form = name.partition("/")[0]
    for seed in range(2):
        rng = np.random.default_rng([seed, *name.encode(), *kind.encode()])
        root = tmp_path / str(seed)
        shutil.copytree(originals / form, root / form)
        path = root / name
        path.write_bytes(damaged(path.read_bytes(), kind, rng))
        reader = {"vpt": VPT, "minerl": MineRL}[form]
        recordings = reader(source=root / form, out=root / "out", size=(24, 32), processes=1)
        plan = recordings.plan()
        import_recordings(recordings, plan, open_writer(recordings, plan))
        # Damaged metadata may name another number of leading frames, and so shift the states.
        if path.name != "metadata.json" or kind == "cut":
            check(open_store(root / "out"), 3 if form == "minerl" else 0)


def test_a_line_lost_in_the_middle_shifts_nothing(tmp_path):
    vpt_segment(tmp_path / "in/bad", LENGTH)
    vpt_segment(tmp_path / "in/good", 4)
    path = tmp_path / "in/bad.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[20:22] = [lines[20][:100] + lines[21][200:]]
    path.write_bytes(b"".join(lines))
    recordings = VPT(source=tmp_path / "in", out=tmp_path / "out", size=(24, 32), processes=1)
    plan = recordings.plan()
    findings = import_recordings(recordings, plan, open_writer(recordings, plan))
    store = open_store(tmp_path / "out")
    check(store, 0)
    assert store.lengths.tolist() == [21, 4]
    assert {row["count"] for row in findings.rows("dropped")} == {1, LENGTH - 1 - 21}


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"mouse": 1}', "3", '"text"', "\x00", '{"mouse": {"dx": 1e999}}',
     '{"mouse": {"dx": ' + "9" * 5000 + "}}", '{"mouse": {"dx": true}}', '{"mouse": {"dy": [1]}}',
     '{"keyboard": {"keys": "w"}}', '{"keyboard": []}', "x" * 3_000_000],
)  # fmt: skip
def test_lines_that_say_nothing(tmp_path, line):
    vpt_segment(tmp_path / "in/good", 8, {3: line})
    recordings = VPT(source=tmp_path / "in", out=tmp_path / "out", size=(24, 32), processes=1)
    plan = recordings.plan()
    import_recordings(recordings, plan, open_writer(recordings, plan))
    store = open_store(tmp_path / "out")
    check(store, 0)
    assert store.lengths.tolist() == [4, 4]


@pytest.mark.parametrize(
    "changes",
    [{"mouse__buttons": [[0], "0", None, 17]}, {"keyboard__keys": [["key.keyboard.w"], 3, None]},
     {"hotbar": "third"}, {"hotbar": 11}, {"hotbar": True}, {"isGuiOpen": "yes"},
     {"mouse__newButtons": None}],
)  # fmt: skip
def test_odd_values_are_no_input(tmp_path, changes):
    vpt_segment(tmp_path / "in/good", 8, {3: changes})
    assert vpt_line(3, **changes) != vpt_line(3)
    recordings = VPT(source=tmp_path / "in", out=tmp_path / "out", size=(24, 32), processes=1)
    plan = recordings.plan()
    import_recordings(recordings, plan, open_writer(recordings, plan))
    store = open_store(tmp_path / "out")
    check(store, 0)
    assert store.lengths.tolist() == [8]
    actions = [store.action_spec.decode(vector) for vector in store.episode(0).actions]
    assert not any(action[f"hotbar.{i}"] for action in actions for i in range(1, 10))
