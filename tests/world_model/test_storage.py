"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file

from tests.world_model.disk import full_disk
from world_model.errors import NFDError, StorageError
from world_model.storage import (
    atomic_file,
    atomic_folder,
    one_at_a_time,
    recover_folder,
    save_tensors,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_folder(path, text):
    with atomic_folder(path) as folder:
        (folder / "a.txt").write_text(text)


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"  # writers choose the format by it
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), ValueError("x"), KeyboardInterrupt()]
)
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), ValueError("x"), KeyboardInterrupt()]
)
def test_an_error_leaves_the_old_folder(tmp_path, error):
    path = tmp_path / "run"
    write_folder(path, "old")

    def write() -> None:
        with atomic_folder(path) as folder:
            (folder / "a.txt").write_text("half")
            raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        write()
    assert (path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path):
    path = tmp_path / "run"
    write_folder(path, "old")
    (path / "b.txt").write_text("only in the old one")
    write_folder(path, "new")
    assert names(path) == ["a.txt"]
    assert (path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["run"]


def test_a_failing_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "run"
    write_folder(path, "old")
    replace, calls = os.replace, []

    def fail_second(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(StorageError, match="Input/output error"):
        write_folder(path, "new")
    assert (path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_an_error_names_the_file_and_the_way_out(tmp_path):
    with (
        pytest.raises(StorageError, match=r"run.*No space left.*Free some disk space") as caught,
        atomic_folder(tmp_path / "run"),
    ):
        raise OSError(28, "No space left on device")
    assert isinstance(caught.value, NFDError)
    assert isinstance(caught.value, OSError)


def test_an_inner_error_is_not_wrapped_again(tmp_path):
    with pytest.raises(StorageError, match=r"^the first$"), atomic_folder(tmp_path / "run"):
        raise StorageError("the first")
    with pytest.raises(StorageError, match=r"^the first$"), atomic_file(tmp_path / "file"):
        raise StorageError("the first")
    assert names(tmp_path) == []


def test_a_file_in_the_way_of_a_folder_stays(tmp_path):
    path = tmp_path / "run"
    path.write_text("something else")
    with pytest.raises(StorageError, match="it is a file"):
        write_folder(path, "new")
    assert path.read_text() == "something else"
    assert names(tmp_path) == ["run"]


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("something else")
    with pytest.raises(StorageError), atomic_file(tmp_path / "run" / "a.txt") as temporary:
        temporary.write_text("new")
    with pytest.raises(StorageError):
        write_folder(tmp_path / "run" / "folder", "new")


# -- killed ------------------------------------------------------------------------------------


def kill_while_writing(path, when):
    """A process that is killed inside atomic_folder: ``before`` or ``between`` the renames."""
    code = f"""
import os, signal
from world_model.storage import atomic_folder
replace = os.replace
def replace_and_die(source, target):
    replace(source, target)
    os.kill(os.getpid(), signal.SIGKILL)
with atomic_folder({str(path)!r}) as folder:
    (folder / "a.txt").write_text("new")
    if {when!r} == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace_and_die
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_killed_process_loses_nothing_that_cannot_be_recovered(tmp_path, when):
    path = tmp_path / "run [1]"  # a name with characters that patterns use
    write_folder(path, "old")
    kill_while_writing(path, when)
    assert len(names(tmp_path)) == 2
    recover_folder(path)
    assert (path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["run [1]"]
    recover_folder(path)  # nothing to do
    assert (path / "a.txt").read_text() == "old"


def test_recovering_what_was_never_there(tmp_path):
    recover_folder(tmp_path / "none" / "run")
    assert names(tmp_path) == []


@pytest.mark.parametrize("target_exists", [True, False])
def test_leftovers_of_a_process_with_our_number(tmp_path, target_exists):
    """In a container every run has the same process id."""
    path = tmp_path / "run"
    for suffix in ("tmp", "old"):
        leftover = tmp_path / f".run.{os.getpid()}.{suffix}"
        leftover.mkdir()
        (leftover / "a.txt").write_text(suffix)
    if target_exists:
        write_folder(path, "current")
    with pytest.raises(ValueError, match="x"), atomic_folder(path):
        raise ValueError("x")
    assert (path / "a.txt").read_text() == ("current" if target_exists else "old")
    write_folder(path, "new")
    assert names(path) == ["a.txt"]
    assert (path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["run"]


# -- one at a time -----------------------------------------------------------------------------


def test_one_process_at_a_time(tmp_path):
    """Locks are of open files, so threads wait for each other as processes do."""
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with one_at_a_time(tmp_path / "agent"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with one_at_a_time(tmp_path / "agent"):
        inside.set()
        thread.join(0.3)
        assert thread.is_alive()
        with one_at_a_time(tmp_path / "another"):
            order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_an_error_lets_the_next_one_in(tmp_path):
    with pytest.raises(ValueError, match="x"), one_at_a_time(tmp_path):
        raise ValueError("x")
    with one_at_a_time(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not write"), one_at_a_time(tmp_path / "file"):
        raise AssertionError("nobody comes here")


# -- tensors -----------------------------------------------------------------------------------


def test_tensors_survive(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5)}
    save_tensors(tensors, tmp_path / "x.safetensors")
    for name, tensor in load_file(tmp_path / "x.safetensors").items():
        assert torch.equal(tensor, tensors[name])


def test_tensors_on_a_full_disk(tmp_path):
    """safetensors raises an error of its own kind; here it becomes one like all others."""
    path = tmp_path / "run"
    write_folder(path, "old")
    with (
        full_disk(),
        pytest.raises(StorageError, match="Free some disk space"),
        atomic_folder(path) as folder,
    ):
        save_tensors({"a": torch.zeros(100_000)}, folder / "x.safetensors")
    assert names(path) == ["a.txt"]
    assert names(tmp_path) == ["run"]
