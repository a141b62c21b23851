"""Files of a source, none of which may lead out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from world_model.data.importing.findings import Findings

OUTSIDE = "leads out of the source"


def inside(root: Path, relative: str) -> Path | None:
    """The file ``relative`` under ``root``, or None if the path leads out of it.

    Absolute paths, ``..`` and symbolic links to elsewhere are out, whatever system wrote them.
    """
    if not relative or "\0" in relative:
        return None
    windows, posix = PureWindowsPath(relative), PurePosixPath(relative)
    if windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts:
        return None
    path = root / relative
    try:
        return path if path.resolve().is_relative_to(root.resolve()) else None
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long
        return None


def find_files(root: Path, suffix: str, findings: Findings) -> Iterator[Path]:
    """Files under ``root`` with a suffix, sorted; links that lead out of it are reported."""
    for folder, folders, names in os.walk(root):  # does not follow links to folders
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if name.startswith(".") or not name.lower().endswith(suffix):
                continue
            if inside(root, path.relative_to(root).as_posix()) is None:
                findings.dropped(OUTSIDE, path.relative_to(root).as_posix())
            elif path.is_file():
                yield path
