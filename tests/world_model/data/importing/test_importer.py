from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.world_model.data.importing.recorder import read_number, vpt_segment
from tests.world_model.data.killing import kill_after_two_shards
from tests.world_model.data.test_writer import contents
from world_model.data import open_store
from world_model.data.importing import importer, recordings
from world_model.data.importing.findings import Findings
from world_model.data.importing.importer import import_recordings, open_writer
from world_model.data.importing.vpt import VPT
from world_model.errors import DataError, StorageError


def make_source(root: Path) -> Path:
    """Recordings of several lengths, some of which have nothing to give."""
    for i in range(6):
        vpt_segment(root / f"8.0/r{i}", 20 + 15 * i, {7: "{"} if i % 2 else {})
    vpt_segment(root / "8.0/r3b", 10, lines=40)
    vpt_segment(root / "9.0/one-frame", 1)
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_source(tmp_path_factory.mktemp("recordings") / "in")


@pytest.fixture
def small(monkeypatch):
    """Every recording is a unit, and shards hold about 30 frames."""
    monkeypatch.setattr(recordings, "UNIT_BYTES", 1)
    monkeypatch.setattr(importer, "SHARD_BYTES", 30 * 6 * 8 * 3)


def run(source: Path, out: Path, *, processes: int = 1, report=None, max_steps: int = 25):
    reader = VPT(source=source, out=out, size=(6, 8), max_steps=max_steps, processes=processes)
    plan = reader.plan()
    writer = open_writer(reader, plan)
    return import_recordings(reader, plan, writer, report=report), writer


def test_small_recordings_share_a_unit(source, tmp_path):
    plan = VPT(source=source, out=tmp_path).plan()
    assert len(plan.recordings) == 8
    assert [len(unit) for unit in plan.units()] == [8]


def test_shards_are_bounded_and_numbered_in_order(source, tmp_path, small):
    findings, writer = run(source, tmp_path / "out")
    assert len(writer.shards) > 6
    assert max(shard.rows for shard in writer.shards) <= 30 + 26
    assert findings.kept["frames"] == writer.frames
    assert findings.kept["recordings"] == 6
    rows = [pq.read_table(p) for p in sorted((tmp_path / "out/data/chunk-000").iterdir())]
    indices = np.concatenate([table["index"].to_numpy() for table in rows])
    np.testing.assert_array_equal(indices, np.arange(writer.frames))
    episodes = np.concatenate([table["episode_index"].to_numpy() for table in rows])
    assert sorted(set(episodes.tolist())) == list(range(writer.episodes))
    assert (np.diff(episodes) >= 0).all()
    numbers = [e["episode_index"] for shard in writer.shards for e in shard.episodes]
    assert numbers == list(range(writer.episodes))


def test_episodes_of_a_recording_meet_at_the_same_frame(source, tmp_path, small):
    run(source, tmp_path / "out")
    store = open_store(tmp_path / "out")
    infos = [store.episode(i).info for i in range(store.num_episodes)]
    linked = [i for i, info in enumerate(infos) if "previous_action" in info]
    assert linked
    for i in linked:
        before, after = store.episode(i - 1), store.episode(i)
        assert before.info["recording"] == after.info["recording"]
        np.testing.assert_array_equal(before.frames[-1], after.frames[0])
        previous = np.array(json.loads(after.info["previous_action"]), np.float32)
        np.testing.assert_array_equal(previous, before.actions[-1])


@pytest.mark.slow
def test_the_number_of_processes_does_not_matter(source, tmp_path, small):
    reported = []
    one, _ = run(source, tmp_path / "one", processes=1)
    two, writer = run(
        source, tmp_path / "two", processes=2, report=lambda *now: reported.append(now)
    )  # fmt: skip
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert one.to_dict() == two.to_dict()
    assert len(writer.shards) >= 4
    assert max(placed for placed, _ in reported) == 8


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 4, 6])
@pytest.mark.parametrize("where", ["place", "add"])
def test_an_interrupted_import_goes_on(source, tmp_path, small, monkeypatch, after, where):
    """Stopped before a shard is placed, or when it is but the journal does not know yet."""
    expected, _ = run(source, tmp_path / "whole")
    owner = importer.DatasetWriter if where == "place" else importer._Journal
    original, calls = getattr(owner, where), []

    def stop(self, *arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise Interrupted
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, stop)
        with pytest.raises(Interrupted):
            run(source, tmp_path / "parts")
    assert not (tmp_path / "parts/meta/info.json").exists()
    findings, _ = run(source, tmp_path / "parts")
    assert findings.to_dict() == expected.to_dict()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_journal_that_was_cut_short_is_mended(source, tmp_path, small):
    run(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    journal = tmp_path / "out" / importer.JOURNAL_PATH
    journal.write_text(journal.read_text()[:-30])
    run(source, tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("shard", [0, 3, -1])
def test_a_deleted_shard_is_imported_anew(source, tmp_path, small, shard):
    run(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    sorted((tmp_path / "out/data/chunk-000").iterdir())[shard].unlink()
    run(source, tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(source, tmp_path, small, repository):
    script = f"""
import time
from pathlib import Path
from tests.world_model.data.importing.test_importer import importer, recordings, run
recordings.UNIT_BYTES, importer.SHARD_BYTES = {recordings.UNIT_BYTES}, {importer.SHARD_BYTES}
if __name__ == "__main__":
    slow = lambda placed, read: time.sleep(0.3)
    run(Path({str(source)!r}), Path({str(tmp_path / "killed")!r}), report=slow)
"""
    (tmp_path / "script.py").write_text(script)
    kill_after_two_shards(tmp_path / "script.py", tmp_path / "killed", repository)
    run(source, tmp_path / "killed")
    run(source, tmp_path / "whole")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_other_settings_or_another_source_are_refused(source, tmp_path, small):
    run(source, tmp_path / "out")
    with pytest.raises(DataError, match=r"settings\.max_steps: 25 there, 9 now"):
        run(source, tmp_path / "out", max_steps=9)
    grown = make_source(tmp_path / "in")
    vpt_segment(grown / "8.0/more", 5)
    with pytest.raises(DataError, match=r"settings\.plan"):
        run(grown, tmp_path / "out")


def test_a_full_disk_is_one_clear_error_and_can_be_resumed(source, tmp_path, small, monkeypatch):
    written, write_table = [], pq.write_table

    def fail_later(table, where, **settings):
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(where)
        write_table(table, where, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", fail_later)
        with pytest.raises(StorageError, match="No space left on device"):
            run(source, tmp_path / "out")
    run(source, tmp_path / "out")
    run(source, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_source_is_where_every_frame_says(source, tmp_path, small):
    run(source, tmp_path / "out")
    store = open_store(tmp_path / "out")
    for i in range(store.num_episodes):
        episode = store.episode(i)
        first = int(episode.info["first_frame"])
        numbers = [read_number(frame) for frame in episode.frames]
        assert numbers == list(range(first, first + len(numbers)))


def test_findings_are_counted_and_joined():
    one, two = Findings(), Findings()
    for i in range(4):
        one.dropped("too dark", f"a{i}", 2, "frames")
        two.dropped("too dark", f"b{i}", 3, "frames")
    two.repaired("tilted", "b0", 0)  # nothing happened
    two.dropped("too dark", "b9")  # counted in another unit
    one.merge(Findings.from_dict(json.loads(json.dumps(two.to_dict()))))
    first, second = one.rows("dropped")
    assert first == {
        "reason": "too dark", "count": 20, "of": "frames", "recordings": 8,
        "examples": ["a0", "a1", "a2", "a3", "b0"],
    }  # fmt: skip
    assert (second["count"], second["of"]) == (1, "recordings")
    assert one.rows("repaired") == []
