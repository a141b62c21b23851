"""Files appear whole or not at all: write under a temporary name, then rename."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from world_model.errors import StorageError

if TYPE_CHECKING:
    from torch import Tensor

LOCK = ".lock"
"""File of a folder that one process at a time shall work in."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; renames it to ``path`` when the block succeeds.

    Raises:
        StorageError: if the disk is full or the folder cannot be written; the temporary file is
            removed and what stood at ``path`` before is untouched.
    """
    target = Path(path)
    # Keep the suffix last: writers such as PyAV choose the container by it.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        _remove(temporary)
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"could not write {target}: {error.strerror or error}. Free some disk space or choose "
            "another folder; nothing was left half-written."
        ) from error
    except BaseException:
        _remove(temporary)
        raise


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Writes JSON for people to read, whole or not at all.

    Raises:
        StorageError: as :func:`atomic_file`.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n")


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Makes ``folder``, and waits until no other process is in such a block for it.

    Where there are no locks (on Windows, and on some network file systems), nobody waits.

    Raises:
        StorageError: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise StorageError(f"could not write {folder}: {error.strerror or error}.") from error
    with lock:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)  # gone with the process, however that ends
        yield


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    with suppress(OSError):  # the error on the way is the one to hear about
        path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Like :func:`atomic_file` for a whole folder, which replaces an older one at ``path``.

    Raises:
        StorageError: if the disk is full, the parent folder cannot be written, or a file is in
            the way.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    replaced = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        # A killed process may have had our number, as the first one in a container always has.
        if replaced.exists() and not target.exists():
            os.replace(replaced, target)
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        if target.is_file():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder")
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            os.replace(target, replaced)
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"could not write {target}: {error.strerror or error}. Free some disk space or choose "
            "another folder; nothing was left half-written."
        ) from error
    finally:
        if replaced.exists() and not target.exists():
            os.replace(replaced, target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def recover_folder(path: str | os.PathLike[str]) -> None:
    """Tidies up after processes that were killed inside :func:`atomic_folder`.

    Puts back the folder that was about to be replaced when there is nothing at ``path``, and
    removes what is half-written. Only for folders that no other process is writing.
    """
    target = Path(path)
    name = glob.escape(target.name)
    for replaced in target.parent.glob(f".{name}.*.old"):
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            with suppress(OSError):
                os.replace(replaced, target)
    for temporary in target.parent.glob(f".{name}.*.tmp"):
        shutil.rmtree(temporary, ignore_errors=True)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes a safetensors file.

    Raises:
        OSError: if it cannot be written; safetensors itself raises an error that is none, which
            :func:`atomic_file` and :func:`atomic_folder` would not recognise.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(f"{path.name}: {error}") from error
    path.chmod(0o644)  # safetensors writes files that only their owner can read
