import json
import tarfile
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from benchmarks.gpu_train import GpuTrainOptions, run, unpack_resume
from benchmarks.pieces import join_pieces, split_file
from tests.benchmarks import sliding
from world_model.errors import CheckpointError
from world_model.world import World


def test_pieces_make_the_whole(tmp_path):
    content = bytes(range(256)) * 700
    path = tmp_path / "file.tar"
    path.write_bytes(content)
    pieces = split_file(path, piece_mb=0.05)
    assert len(pieces) == 4
    assert all(piece.stat().st_size <= 0.05 * 2**20 for piece in pieces)
    assert not path.exists()
    assert join_pieces(tmp_path, "file.tar", tmp_path / "whole").read_bytes() == content
    pieces[1].unlink()
    with pytest.raises(FileNotFoundError, match="a piece of"):
        join_pieces(tmp_path, "file.tar", tmp_path / "whole")


def test_small_files_stay_whole(tmp_path):
    path = tmp_path / "file.tar"
    path.write_bytes(b"x")
    assert split_file(path, piece_mb=1) == [path]
    assert join_pieces(tmp_path, "file.tar", tmp_path / "whole").read_bytes() == b"x"


def options(tmp_path, out, **changes):
    return GpuTrainOptions(
        out=tmp_path / out, preset="tiny", minutes=0.06, outcome_minutes=0.02, outcome_steps=0,
        batch_size=4, compile=False, work=tmp_path / f"work-{out}", device="cpu", piece_mb=0.2,
        **changes,
    )  # fmt: skip


def record(_, folder):
    if not folder.exists():
        sliding.make_dataset(folder)


@pytest.mark.slow
def test_trains_packs_and_goes_on(tmp_path):
    console = Console(quiet=True)
    first = run(options(tmp_path, "first"), console, record)
    out = tmp_path / "first"
    assert first["steps"] >= 1
    assert json.loads((out / "summary.json").read_text())["world"] == first["world"]
    assert len(list(out.glob("resume.tar.*"))) > 1
    assert all(path.stat().st_size <= 0.2 * 2**20 for path in out.iterdir())
    join_pieces(out, "world.tar", tmp_path / "world.tar")
    with tarfile.open(tmp_path / "world.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    assert World.from_pretrained(tmp_path / "world").model_id == first["world"]
    second = run(options(tmp_path, "second", resume=out), console, record)
    assert second["steps"] > first["steps"]
    student = run(options(tmp_path, "third", distill=str(tmp_path / "world")), console, record)
    assert student["steps"] >= 1
    folder = tmp_path / "work-third" / "world"
    world = World.from_pretrained(folder)
    assert world.flow.makes_samples
    assert not world.many_step().flow.makes_samples
    assert (world.config.sampler, world.config.sampling_steps) == ("consistency", 2)
    # Its teacher can be trained further.
    given = options(tmp_path, "fourth", start_from=str(folder))
    run(replace(given, learning_rate=1e-12), console, record)
    further = World.from_pretrained(tmp_path / "work-fourth" / "world")
    assert not further.flow.makes_samples
    theirs = world.many_step().network.state_dict()
    for name, weight in further.network.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=2e-3)


@pytest.mark.slow
def test_the_outcome_model_is_learned_beside_the_teacher(tmp_path):
    console, data = Console(quiet=True), tmp_path / "data"
    record(None, data)

    def never(*_):
        raise AssertionError("the data are there already")

    given = options(tmp_path, "run", data=data, outcome_width=24)
    given = replace(given, outcome_steps=4, finetune_steps=2, outcome_horizon=3)
    assert "world" not in run(replace(given, only_outcome=True), console, never)
    checkpoint = tmp_path / "work-run" / "run" / "outcome"
    written = {path: path.stat().st_mtime_ns for path in checkpoint.rglob("*")}
    assert written
    run(given, console, never)
    assert {path: path.stat().st_mtime_ns for path in checkpoint.rglob("*")} == written
    world = World.from_pretrained(tmp_path / "work-run" / "world")
    assert (world.outcome.config.hidden, world.outcome.config.head) == (24, 12)


def test_pieces_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="Bring all of its pieces"):
        unpack_resume(tmp_path, tmp_path / "run")
