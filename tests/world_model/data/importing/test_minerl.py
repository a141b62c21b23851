from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.world_model.data.importing.recorder import (
    buttons_of,
    minerl_stream,
    mouse_of,
    read_number,
    vpt_segment,
)
from tests.world_model.data.importing.running import imported
from world_model.data.importing.command import main
from world_model.data.importing.minerl import MineRL
from world_model.errors import DataError
from world_model.minecraft.minerl import minerl_spec

BUTTONS = ("attack", "back", "forward", "jump", "left", "right", "sneak", "sprint")


def run(source: Path, out: Path, **settings: Any):
    settings = {"size": (16, 16), "processes": 1, **settings}
    return imported(MineRL(source=source, out=out, **settings))


def found(findings, kind: str) -> list[tuple[int, str, list[str]]]:
    return [(row["count"], row["of"], row["examples"]) for row in findings.rows(kind)]


def assert_aligned(store) -> list[list[int]]:
    """Fails unless each action and reward is the one of its frame; the numbers seen."""
    seen = []
    for i in range(store.num_episodes):
        episode = store.episode(i)
        numbers = [read_number(frame) for frame in episode.frames]
        for number, vector, reward in zip(numbers, episode.actions, episode.rewards, strict=False):
            action = store.action_spec.decode(vector)
            assert {n for n in BUTTONS if action[n]} == buttons_of(number) & set(BUTTONS)
            dx, dy = mouse_of(number)
            np.testing.assert_allclose(action["camera"], (dy * 0.15, dx * 0.15), rtol=1e-5)
            assert reward == float(number % 5 == 4)
        seen.append(numbers)
    return seen


def test_streams_are_aligned(tmp_path):
    minerl_stream(tmp_path / "in/MineRLTreechop-v0/v3_red_plum-1_2-3", 20, leading=7)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert assert_aligned(store) == [list(range(20))]
    episode = store.episode(0)
    # The last reward counts, but what it led to is not shown: the last frame is a copy.
    assert len(episode.actions) == 20
    assert store.frame_missing.tolist() == [False] * 19 + [True]
    assert episode.rewards.sum() == 4
    assert episode.terminated[-1]
    assert not episode.truncated.any()
    assert episode.info["recording"] == "MineRLTreechop-v0/v3_red_plum-1_2-3"
    assert episode.info["task"] == "MineRLTreechop-v0"
    assert episode.info["first_frame"] == "7"
    assert found(findings, "noted") == [(7, "frames", [episode.info["recording"]])]
    assert found(findings, "dropped") == found(findings, "repaired") == []
    # The task lacks most of MineRL 1.0's buttons; the world can still be trained on others, too.
    assert store.action_spec == minerl_spec()


def test_failures_and_cuts_are_truncated(tmp_path):
    minerl_stream(tmp_path / "in/T/lost", 10, success=False)
    store, _ = run(tmp_path / "in", tmp_path / "out", max_steps=6)
    assert assert_aligned(store) == [list(range(7)), [6, 7, 8, 9]]
    assert not store.terminated.any()
    assert [store.episode(i).truncated[-1] for i in range(2)] == [True, True]
    assert store.frame_missing.tolist() == [False] * 10 + [True]


def test_choices_are_encoded_from_numbers_and_names(tmp_path):
    names = ["none", "planks", "stick", "anvil", "torch", "none"]
    minerl_stream(
        tmp_path / "in/T/named",
        6,
        arrays={
            "action$craft": np.array(names),
            "action$place": np.array([0, 1, 6, 7, -1, 0]),
            "action$use": np.ones((6, 1), np.int64),
            "action$dance": np.zeros(6),
        },
    )
    minerl_stream(tmp_path / "in/T/plain", 3)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert_aligned(store)
    spec = store.action_spec
    assert spec.convention == ""  # nobody else's
    assert {g.name for g in spec.groups if g.companding} == {"camera"}
    actions = [spec.decode(vector) for vector in store.episode(0).actions]
    assert [int(a["craft"]) for a in actions] == [0, 3, 2, 0, 1, 0]
    assert [int(a["place"]) for a in actions] == [0, 1, 6, 0, 0, 0]
    assert [int(a["use"]) for a in actions] == [1] * 6
    assert "craft=planks" in spec.describe(store.actions[1])
    # Recordings of another task lack these actions: nobody took them.
    assert [int(spec.decode(v)["craft"]) for v in store.episode(1).actions] == [0, 0, 0]
    assert sorted(found(findings, "dropped")) == [
        (1, "columns", ["action$dance"]), (3, "frames", ["T/named"])
    ]  # fmt: skip


def test_arrays_of_objects_are_rejected_by_name(tmp_path):
    minerl_stream(tmp_path / "in/T/good", 5)
    minerl_stream(
        tmp_path / "in/T/pickled", 5, arrays={"action$craft": np.array(["none", 1] * 3, object)}
    )
    # What is not looked at does no harm.
    minerl_stream(
        tmp_path / "in/T/unread", 5, arrays={"observation$odd": np.array([None] * 6, object)}
    )
    store, findings = run(tmp_path / "in", tmp_path / "out")
    recordings = [store.episode(i).info["recording"] for i in range(store.num_episodes)]
    assert recordings == ["T/good", "T/unread"]
    assert found(findings, "dropped") == [(1, "recordings", ["T/pickled (action$craft)"])]


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    import pickle

    def fail(*arguments, **settings):
        raise AssertionError("something was unpickled")

    minerl_stream(tmp_path / "in/T/good", 5)
    minerl_stream(tmp_path / "in/T/bad", 5)
    (tmp_path / "in/T/bad/rendered.npz").write_bytes(pickle.dumps({"reward": [1.0]}))
    minerl_stream(tmp_path / "in/T/objects", 5, arrays={"reward": np.array([None] * 5, object)})
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, fail)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert store.num_episodes == 1
    assert len(findings.rows("dropped")) == 2


def test_numbers_that_are_not_finite_split_the_recording(tmp_path):
    camera = np.array([[mouse_of(i)[1] * 0.15, mouse_of(i)[0] * 0.15] for i in range(12)])
    camera[4, 1] = np.nan
    reward = np.array([float(i % 5 == 4) for i in range(12)])
    reward[8] = np.inf
    minerl_stream(
        tmp_path / "in/T/a", 12, arrays={"action$camera": camera, "reward": reward},
        metadata={"total_reward": 1.0},
    )  # fmt: skip
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert assert_aligned(store) == [list(range(5)), list(range(5, 9)), [9, 10, 11]]
    assert found(findings, "dropped") == [(2, "frames", ["T/a"])]
    assert store.terminated.sum() == 1


def test_videos_of_another_length(tmp_path):
    minerl_stream(tmp_path / "in/T/short-video", 20, leading=3, frames=15)
    minerl_stream(tmp_path / "in/T/too-few", 20, metadata={"true_video_frame_count": 15})
    minerl_stream(tmp_path / "in/T/no-metadata", 6, leading=2)
    (tmp_path / "in/T/no-metadata/metadata.json").write_text("{")
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert assert_aligned(store) == [list(range(6)), list(range(12))]
    assert store.episode(1).truncated[-1]
    assert sorted(found(findings, "dropped")) == [
        (1, "recordings", ["T/too-few (15 frames, 21 states)"]),
        (8, "frames", ["T/short-video (12 of 20)"]),
    ]
    assert found(findings, "repaired") == [(1, "recordings", ["T/no-metadata"])]


@pytest.mark.parametrize(
    "arrays",
    [
        {"reward": None},
        {"reward": np.zeros(0)},
        {"reward": np.zeros((5, 2))},
        {"reward": np.array(["much"] * 5)},
        {"action$forward": np.zeros(3)},
        {"action$camera": np.zeros((5, 3))},
        {"action$camera": np.array(["left"] * 5)},
        {"action$jump": np.zeros((5, 5))},
    ],
)
def test_unusable_arrays_drop_the_stream_alone(tmp_path, arrays):
    minerl_stream(tmp_path / "in/T/good", 5)
    minerl_stream(tmp_path / "in/T/bad", 5, arrays=arrays)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert store.num_episodes == 1
    ((count, of, examples),) = found(findings, "dropped")
    assert (count, of) == (1, "recordings")
    assert examples[0].startswith("T/bad")


def test_headers_that_lie_about_their_size(tmp_path):
    minerl_stream(tmp_path / "in/T/good", 5)
    minerl_stream(tmp_path / "in/T/bad", 5, arrays={"reward": None})
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    lie = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    with zipfile.ZipFile(tmp_path / "in/T/bad/rendered.npz", "a") as archive:
        archive.writestr("reward.npy", lie)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert store.num_episodes == 1
    ((_, _, examples),) = found(findings, "dropped")
    assert "64 bytes are not (1000000000000,)" in examples[0]


def test_a_single_stream_is_a_source_too(tmp_path):
    minerl_stream(tmp_path / "T/only", 5)
    store, _ = run(tmp_path / "T/only", tmp_path / "out")
    assert store.episode(0).info["recording"] == "only"


def test_links_that_lead_outside(tmp_path):
    minerl_stream(tmp_path / "elsewhere/T/a", 5)
    minerl_stream(tmp_path / "in/T/good", 5)
    minerl_stream(tmp_path / "in/T/linked", 5)
    (tmp_path / "in/T/linked/recording.mp4").unlink()
    (tmp_path / "in/T/linked/recording.mp4").symlink_to(tmp_path / "elsewhere/T/a/recording.mp4")
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert store.num_episodes == 1
    assert found(findings, "dropped") == [(1, "recordings", ["T/linked"])]


def test_recordings_of_the_later_format_are_pointed_out(tmp_path):
    vpt_segment(tmp_path / "in/a", 5)
    with pytest.raises(DataError, match="nfd import basalt"):
        run(tmp_path / "in", tmp_path / "out")


def test_the_command(tmp_path, capsys):
    minerl_stream(tmp_path / "in/T/a", 8)
    arguments = ["minerl", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "1 of 1 recordings" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/import.json").read_text())
    assert report["kept"] == {"recordings": 1, "episodes": 1, "frames": 8}
