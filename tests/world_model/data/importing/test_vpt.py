from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.world_model.data.importing.recorder import (
    buttons_of,
    mouse_of,
    number_frame,
    number_video,
    read_number,
    vpt_line,
    vpt_segment,
    write_jsonl,
)
from tests.world_model.data.importing.running import imported
from world_model.data.importing import recordings
from world_model.data.importing.command import main
from world_model.data.importing.vpt import VPT
from world_model.errors import DataError
from world_model.minecraft.minerl import minerl_spec


def run(source: Path, out: Path, **settings: Any):
    settings = {"size": (18, 32), "processes": 1, **settings}
    return imported(VPT(source=source, out=out, **settings))


def found(findings, kind: str) -> dict[str, tuple[int, str]]:
    """What was found of a kind: count and unit by reason."""
    return {row["reason"]: (row["count"], row["of"]) for row in findings.rows(kind)}


def expected_action(number: int) -> dict[str, Any]:
    names = [group for group in store_buttons() if group in buttons_of(number)]
    dx, dy = mouse_of(number)
    return {"pressed": set(names), "camera": (dy * 0.15, dx * 0.15)}


def store_buttons() -> list[str]:
    words = "ESC attack back drop forward inventory jump left pickItem right sneak sprint swapHands"
    return [*words.split(), "use", *(f"hotbar.{i}" for i in range(1, 10))]


def action_at(store, row: int) -> dict[str, Any]:
    action = store.action_spec.decode(store.actions[row])
    return {
        "pressed": {name for name in store_buttons() if action[name]},
        "camera": tuple(action["camera"]),
    }


def assert_aligned(store, exceptions: dict[int, set[str]] | None = None) -> list[list[int]]:
    """Fails unless each action is the one of the frame it is stored with; the numbers seen."""
    seen = []
    for i in range(store.num_episodes):
        episode, start = store.episode(i), int(store.offsets[i])
        numbers = [read_number(frame) for frame in episode.frames]
        first = int(episode.info["first_frame"])
        assert numbers[0] == first
        for t in range(len(episode.actions)):
            stored, expected = action_at(store, start + t), expected_action(numbers[t])
            pressed = (exceptions or {}).get(numbers[t], expected["pressed"])
            assert stored["pressed"] == pressed, f"frame {numbers[t]}"
            np.testing.assert_allclose(stored["camera"], expected["camera"], rtol=1e-6)
        seen.append(numbers)
    return seen


def test_frames_and_actions_are_aligned(tmp_path):
    vpt_segment(tmp_path / "in/8.0/cheeky-a1b2-20220301-120000", 90)
    store, findings = run(tmp_path / "in", tmp_path / "out", max_steps=40)
    assert assert_aligned(store) == [
        list(range(0, 41)),
        list(range(40, 81)),
        list(range(80, 90)),
    ]
    assert store.fps == 20
    assert store.action_spec == minerl_spec()
    assert not store.terminated.any()
    assert store.truncated.sum() == 3
    assert not store.frame_missing.any()
    info = store.episode(1).info
    assert info["recording"] == "8.0/cheeky-a1b2-20220301-120000"
    assert (info["recorder_version"], info["policy"]) == ("8.0", "human")
    # The action that led to the first frame after a cut stays known.
    previous = np.array(json.loads(info["previous_action"]), np.float32)
    np.testing.assert_array_equal(previous, store.actions[39])
    assert "previous_action" not in store.episode(0).info
    assert found(findings, "repaired") == found(findings, "dropped") == {}
    assert findings.kept == {"recordings": 1, "episodes": 3, "frames": 41 + 41 + 10}


def test_the_real_resolution_is_averaged(tmp_path):
    vpt_segment(tmp_path / "in/a", 6, height=360, width=640)
    store, _ = run(tmp_path / "in", tmp_path / "out", size=(64, 64))
    assert store.frame_shape == (64, 64, 3)
    assert assert_aligned(store) == [list(range(6))]


def test_small_camera_movements_are_not_rounded(tmp_path):
    changes = {i: {"mouse__dx": 1.0, "mouse__dy": -2.0} for i in range(5)}
    vpt_segment(tmp_path / "in/a", 5, changes)
    store, _ = run(tmp_path / "in", tmp_path / "out")
    for row in range(4):
        np.testing.assert_allclose(action_at(store, row)["camera"], (-0.3, 0.15), rtol=1e-6)


def test_camera_turns_beyond_half_a_circle(tmp_path):
    changes = {1: {"mouse__dx": 1300.0, "mouse__dy": -1300.0}, 2: {"mouse__dx": -1201.0}}
    vpt_segment(tmp_path / "in/a", 5, changes)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    # 195 degrees to the right end where 165 to the left end; nobody looks beyond straight up.
    np.testing.assert_allclose(action_at(store, 1)["camera"], (-180, -165), rtol=1e-6)
    np.testing.assert_allclose(action_at(store, 2)["camera"][1], 360 - 180.15, rtol=1e-6)
    assert found(findings, "repaired") == {"camera turns beyond 180 degrees": (2, "frames")}


def test_stuck_attack_is_released_until_pressed_anew(tmp_path):
    changes: dict[int, Any] = {i: {"mouse__buttons": [0, 1]} for i in range(10)}
    changes[0]["mouse__newButtons"] = [0]
    changes[6]["mouse__newButtons"] = [1, 0]
    vpt_segment(tmp_path / "in/stuck", 10, changes)
    del changes[0]["mouse__newButtons"]
    vpt_segment(tmp_path / "in/well", 10, changes)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    attacks = [["attack" in action_at(store, row)["pressed"] for row in rows]
               for rows in (range(9), range(10, 19))]  # fmt: skip
    assert attacks == [[False] * 6 + [True] * 3, [True] * 9]
    assert all("use" in action_at(store, row)["pressed"] for row in range(9))
    ((reason, count),) = found(findings, "repaired").items()
    assert "attack" in reason
    assert count == (6, "frames")


def test_the_scroll_wheel_shows_in_the_slot(tmp_path):
    slots = [4, 4, 5, 5, 0, 8, 8, 8]
    changes: dict[int, Any] = {i: {"hotbar": slot} for i, slot in enumerate(slots)}
    changes[5]["keyboard__keys"] = ["key.keyboard.9"]  # by its key: nothing to repair
    changes[6]["hotbar"] = None
    vpt_segment(tmp_path / "in/a", 8, changes)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    hotbar = [
        sorted(name for name in action_at(store, row)["pressed"] if name.startswith("hotbar"))
        for row in range(7)
    ]
    # No press at the first frame, though its slot is not 0.
    assert hotbar == [[], [], ["hotbar.6"], [], ["hotbar.1"], ["hotbar.9"], []]
    assert list(found(findings, "repaired").values()) == [(2, "frames")]


def test_records_without_mouse_or_keyboard_are_no_input(tmp_path):
    changes = {2: {"mouse": None}, 3: {"keyboard": None}, 4: {"mouse": None, "keyboard": None}}
    vpt_segment(tmp_path / "in/a", 8, changes)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    buttons = {"attack", "use", "pickItem"}
    assert action_at(store, 2) == {
        "pressed": expected_action(2)["pressed"] - buttons,
        "camera": (0, 0),
    }
    assert action_at(store, 3)["pressed"] == expected_action(3)["pressed"] & buttons
    assert action_at(store, 4) == {"pressed": set(), "camera": (0, 0)}
    assert list(found(findings, "repaired").values()) == [(3, "frames")]


def test_fields_that_basalt_lacks_may_be_missing(tmp_path):
    lines = []
    for i in range(8):
        line = vpt_line(i)
        lines.append({name: line[name] for name in ("mouse", "keyboard")})
    number_video(tmp_path / "in/a.mp4", 8)
    write_jsonl(tmp_path / "in/a.jsonl", lines)
    store, _ = run(tmp_path / "in", tmp_path / "out")
    assert_aligned(store)


def test_idle_frames_are_kept_unless_told_otherwise(tmp_path):
    idle = {"mouse__dx": 0, "mouse__dy": 0, "mouse__buttons": [], "keyboard__keys": []}
    changes = {i: idle for i in (3, 4, 9)}
    vpt_segment(tmp_path / "in/a", 12, changes)
    store, findings = run(tmp_path / "in", tmp_path / "kept")
    assert store.num_frames == 12
    assert found(findings, "dropped") == {}
    store, findings = run(tmp_path / "in", tmp_path / "dropped", drop_null=True)
    (numbers,) = assert_aligned(store)
    assert numbers == [0, 1, 2, 5, 6, 7, 8, 10, 11]
    assert list(found(findings, "dropped").values()) == [(3, "frames")]


def test_the_mouse_pointer_is_drawn_where_a_screen_is_open(tmp_path):
    at = {"isGuiOpen": True, "mouse__x": 640.0, "mouse__y": 480.0}
    changes: dict[int, Any] = {i: at for i in (1, 2)}
    changes[3] = {"isGuiOpen": True, "mouse__x": -5000.0, "mouse__y": 99999.0}
    vpt_segment(tmp_path / "in/a", 5, changes, height=360, width=640)
    store, _ = run(tmp_path / "in", tmp_path / "out", size=(360, 640))
    # (640, 480) of 1280 x 720 is column 320, row 240 of the video.
    for number in (1, 2):
        plain = number_frame(number, 360, 640).astype(int)
        differs = np.abs(store.frames[number].astype(int) - plain).max(axis=2) > 60
        rows, columns = np.nonzero(differs)
        # The block there is dark, so the black outline does not show: white begins inside.
        assert (rows.min(), columns.min()) == (242, 321)
        assert rows.max() < 256
        assert columns.max() < 332
    # Where no screen is open, or the pointer is out of the window, nothing is drawn.
    for number in (0, 3, 4):
        plain = number_frame(number, 360, 640).astype(int)
        assert np.abs(store.frames[number].astype(int) - plain).max() < 60


def test_recorder_versions(tmp_path):
    gui = {i: {"isGuiOpen": i >= 2} for i in range(5)}
    vpt_segment(tmp_path / "in/6.7/a", 5, gui)
    plain, _ = run(tmp_path / "in", tmp_path / "plain")
    assert plain.episode(0).info["recorder_version"] == "6.7"
    scaled, _ = run(tmp_path / "in", tmp_path / "scaled", gui_scales=True)
    ratio = scaled.actions / np.where(plain.actions == 0, 1, plain.actions)
    column = [g.name for g in scaled.action_spec.groups].index("camera")
    assert (ratio[:2, column] == 1).all()
    assert (ratio[2:4, column] == 2).all()


def test_broken_lines_split_the_recording(tmp_path):
    broken = {5: '{"mouse": {"dx"', 12: json.dumps(vpt_line(12, mouse__dx=float("nan"))),
              13: "null", 20: json.dumps(vpt_line(20, mouse__dx="fast"))}  # fmt: skip
    vpt_segment(tmp_path / "in/a", 30, broken)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert assert_aligned(store) == [
        list(range(0, 6)), list(range(6, 13)), list(range(14, 21)), list(range(21, 30))
    ]  # fmt: skip
    assert not any("previous_action" in store.episode(i).info for i in range(4))
    assert list(found(findings, "dropped").values()) == [(4, "frames")]


def test_videos_and_lines_of_slightly_different_length(tmp_path):
    vpt_segment(tmp_path / "in/fewer-lines", 20, lines=18)
    vpt_segment(tmp_path / "in/more-lines", 20, lines=22)
    vpt_segment(tmp_path / "in/way-off", 20, lines=40)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert assert_aligned(store) == [list(range(18)), list(range(20))]
    ((_, count),) = found(findings, "repaired").items()
    assert count == (4, "frames")
    ((_, count),) = found(findings, "dropped").items()
    assert count == (1, "recordings")
    (row,) = findings.rows("dropped")
    assert row["examples"] == ["way-off (20 frames, 40 lines)"]


def test_incomplete_pairs_are_reported(tmp_path):
    vpt_segment(tmp_path / "in/whole", 5)
    vpt_segment(tmp_path / "in/no-lines", 5)
    (tmp_path / "in/no-lines.jsonl").unlink()
    vpt_segment(tmp_path / "in/no-video", 5)
    (tmp_path / "in/no-video.mp4").unlink()
    vpt_segment(tmp_path / "in/empty", 5, lines=0)
    vpt_segment(tmp_path / "in/one-frame", 1)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert store.num_episodes == 1
    examples = [e for row in findings.rows("dropped") for e in row["examples"]]
    assert sorted(e.split()[0].split(".")[0] for e in examples) == [
        "empty", "no-lines", "no-video", "one-frame"
    ]  # fmt: skip


def test_a_truncated_video_is_used_as_far_as_it_goes(tmp_path):
    vpt_segment(tmp_path / "in/a", 200, options={"movflags": "faststart"})
    vpt_segment(tmp_path / "in/b", 10)
    vpt_segment(tmp_path / "in/unfinished", 10)  # its index, at the end, is cut off
    for name, share in (("a", 0.6), ("unfinished", 0.5)):
        path = tmp_path / f"in/{name}.mp4"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
    store, findings = run(tmp_path / "in", tmp_path / "out")
    numbers = assert_aligned(store)
    assert 50 < len(numbers[0]) < 160
    assert numbers[0] == list(range(len(numbers[0])))
    assert numbers[1] == list(range(10))
    dropped = found(findings, "dropped")
    assert (1, "recordings") in dropped.values()
    report = json.loads((tmp_path / "out/import.json").read_text())
    assert report["kept"] == findings.kept
    assert report["dropped"] == findings.rows("dropped")


# -- index files -------------------------------------------------------------------------------


def test_an_index_names_what_to_import(tmp_path):
    for name in ("8.0/a", "8.0/b", "9.0/c", "9.0/left-out"):
        vpt_segment(tmp_path / "in" / name, 5)
    index = tmp_path / "in/all.json"
    index.write_text(json.dumps({
        "basedir": "https://openaipublic.blob.core.windows.net/minecraft-rl/",
        "relpaths": ["8.0/a.mp4", "8.0/b", "9.0/c", "9.0/c.mp4", "9.0/not-downloaded"],
    }))  # fmt: skip
    store, findings = run(index, tmp_path / "out")
    names = [store.episode(i).info["recording"] for i in range(store.num_episodes)]
    assert names == ["8.0/a", "8.0/b", "9.0/c"]
    assert sorted(found(findings, "dropped").values()) == [(1, "recordings"), (1, "recordings")]


def test_an_index_may_name_a_folder_or_files_may_lie_flat(tmp_path):
    vpt_segment(tmp_path / "in/videos/8.0/a", 5)
    vpt_segment(tmp_path / "in/b", 5)
    index = tmp_path / "in/all.json"
    index.write_text(json.dumps({"basedir": "videos", "relpaths": ["8.0/a", "8.0/b"]}))
    store, _ = run(index, tmp_path / "out")
    assert store.num_episodes == 2


def test_nothing_outside_the_source_is_read(tmp_path):
    vpt_segment(tmp_path / "secret", 5)
    vpt_segment(tmp_path / "in/a", 5)
    (tmp_path / "in/linked.mp4").symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "in/linked.jsonl").symlink_to(tmp_path / "secret.jsonl")
    vpt_segment(tmp_path / "in/half", 5)
    (tmp_path / "in/half.jsonl").unlink()
    (tmp_path / "in/half.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (tmp_path / "in/door").symlink_to(tmp_path)
    index = tmp_path / "in/all.json"
    outside = ["../secret", "x/../../secret", str(tmp_path / "secret"), "C:\\secret", "..\\secret"]
    paths = ["a", *outside, "linked", "door/secret", "half", "", 7, None]
    for base in ("", "..", str(tmp_path), "door"):
        index.write_text(json.dumps({"basedir": base, "relpaths": paths}))
        store, findings = run(index, tmp_path / f"out-{len(base)}-{base[:1] == '.'}")
        assert [store.episode(i).info["recording"] for i in range(store.num_episodes)] == ["a"]
        assert found(findings, "dropped") == {"leads out of the source": (11, "recordings")}
    store, findings = run(tmp_path / "in", tmp_path / "out-folder")
    assert [store.episode(i).info["recording"] for i in range(store.num_episodes)] == ["a"]


@pytest.mark.parametrize(
    "content",
    ["ffconcat version 1.0\nfile a.mp4\n", "#EXTM3U\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n"],
)
def test_a_playlist_in_disguise_is_no_video(tmp_path, content):
    """FFmpeg would follow it to the files that it names."""
    vpt_segment(tmp_path / "in/a", 5)
    vpt_segment(tmp_path / "in/b", 5)
    (tmp_path / "in/b.mp4").write_text(content)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert store.num_episodes == 1
    assert found(findings, "dropped") == {"the video cannot be opened": (1, "recordings")}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"relpaths": 3}', '{"basedir": 1, "relpaths": []}', "[" * 99999]
)
def test_damaged_indices_are_one_clear_error(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DataError, match="no index of recordings"):
        run(tmp_path / "index.json", tmp_path / "out")


def test_gaps_between_segments_are_noted(tmp_path):
    for clock in ("120000", "120500", "121459"):
        vpt_segment(tmp_path / f"in/cheeky-a1b2-20220301-{clock}", 5)
    vpt_segment(tmp_path / "in/other-c3d4-20220301-200000", 5)
    _, findings = run(tmp_path / "in", tmp_path / "out")
    (row,) = findings.rows("noted")
    assert row["examples"] == ["cheeky-a1b2-20220301-121459"]


# -- the command -------------------------------------------------------------------------------


def test_the_command_prints_a_summary(tmp_path, capsys):
    vpt_segment(tmp_path / "in/a", 12, {3: "{"})
    vpt_segment(tmp_path / "in/b", 12, lines=30)
    arguments = ["vpt", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--size", "18", "32"]
    assert main(arguments) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 recordings, 2 episodes, 12 frames" in text
    assert "dropped" in text
    assert main(arguments) == 0  # once more changes nothing


def test_nothing_to_import_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="it is empty"):
        run(tmp_path / "in", tmp_path / "out")
    vpt_segment(tmp_path / "bad/a", 12, lines=30)
    with pytest.raises(DataError, match="too far apart"):
        run(tmp_path / "bad", tmp_path / "out-bad")
    assert json.loads((tmp_path / "out-bad/import.json").read_text())["dropped"]
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(DataError, match="inside the source"):
        run(tmp_path / "bad", tmp_path / "bad/out")


def test_a_fragmented_video_is_counted(tmp_path):
    """Its header does not say how many frames it has."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    vpt_segment(tmp_path / "in/a", 50, options=options)
    vpt_segment(tmp_path / "in/way-off", 50, lines=80, options=options)
    store, findings = run(tmp_path / "in", tmp_path / "out")
    assert assert_aligned(store) == [list(range(50))]
    (row,) = findings.rows("dropped")
    assert row["examples"] == ["way-off (50 frames, 80 lines)"]


@pytest.mark.parametrize("stored", ["image", "video"])
def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path, monkeypatch, stored):
    """Counts the frames that are alive while a recording is read."""
    from world_model.data import metadata
    from world_model.data.importing import importer, vpt

    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most: list[int] = []
    resize = vpt.resize_picture

    class Frame(np.ndarray):
        pass

    class Key:
        pass

    def watched(frame, size):
        frame = np.array(resize(frame, size)).view(Frame)
        frame.key = Key()
        alive.add(frame.key)
        most.append(len(alive))
        return frame

    monkeypatch.setattr(vpt, "resize_picture", watched)
    monkeypatch.setattr(metadata, "LARGEST_IMAGE", 16 if stored == "video" else 128)
    monkeypatch.setattr(importer, "SHARD_BYTES", 100 * 18 * 32 * 3)
    vpt_segment(tmp_path / "in/a", 300)
    store, _ = run(tmp_path / "in", tmp_path / "out", max_steps=60)
    assert store.num_frames == 300 + 4
    assert (tmp_path / "out/videos").exists() == (stored == "video")
    shards = list((tmp_path / "out/data/chunk-000").iterdir())
    assert len(shards) == (1 if stored == "video" else 3)
    assert max(most) <= 8


# -- frames above 128 pixels -------------------------------------------------------------------


def test_large_frames_become_video(tmp_path, monkeypatch):
    """At half the size of VPT's own, interrupted between two shards."""
    from world_model.data.importing import importer

    vpt_segment(tmp_path / "in/a", 30, {9: "{"}, height=288, width=512)
    vpt_segment(tmp_path / "in/b", 24, height=288, width=512)
    settings: dict[str, Any] = {"size": (144, 256), "max_steps": 12}
    monkeypatch.setattr(recordings, "UNIT_BYTES", 1)
    monkeypatch.setattr(importer, "VIDEO_SHARD_BYTES", 20 * 144 * 256 * 3)

    def stop(self, unit, result):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importer._Journal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "in", tmp_path / "out", **settings)
    placed = sorted((tmp_path / "out/videos").rglob("*.mp4"))
    assert placed
    assert not (tmp_path / "out/meta/info.json").exists()
    before = [path.stat().st_mtime_ns for path in placed]
    store, _ = run(tmp_path / "in", tmp_path / "out", **settings)
    assert [path.stat().st_mtime_ns for path in placed] == before
    whole, _ = run(tmp_path / "in", tmp_path / "whole", **settings)
    assert store.content_hash == whole.content_hash

    assert store.frame_shape == (144, 256, 3)
    assert len(list((tmp_path / "out/videos").rglob("*.mp4"))) > 2
    assert assert_aligned(store) == [
        list(range(10)), list(range(10, 23)), list(range(22, 30)),
        list(range(13)), list(range(12, 24)),
    ]  # fmt: skip
    errors = [
        np.abs(frame.astype(int) - number_frame(read_number(frame), 144, 256)).mean()
        for frame in store.frames
    ]
    assert max(errors) < 3
