"""Finds worlds: a bundled name, a folder, or a repository on the Hugging Face Hub."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from world_model.errors import WorldNotFoundError

BUNDLED_WORLDS = Path(__file__).parent / "worlds"
"""Folder of the worlds that come with the package."""


def _bundled() -> Iterator[tuple[str, int, Path]]:
    """Name, version and folder of every bundled world."""
    for config in sorted(BUNDLED_WORLDS.glob("*/config.json")):
        try:
            world = json.loads(config.read_text(encoding="utf-8"))["world"]
            yield str(world["name"]), int(world["version"]), config.parent
        except (OSError, ValueError, KeyError, TypeError):
            # Found by its folder's name, so that loading it says what is wrong with it.
            yield config.parent.name, 0, config.parent


def bundled_worlds() -> dict[str, Path]:
    """Folders of the bundled worlds by name; the newest version of each."""
    by_version = sorted(_bundled(), key=lambda world: world[1])
    return {name: folder for name, _, folder in by_version}


def find_world(name: str | os.PathLike[str]) -> Path:
    """The folder of a world.

    Args:
        name: a bundled name (``doom-take-cover``, or with a version ``doom-take-cover@1``), a
            folder, or ``owner/repository`` on the Hugging Face Hub.

    Raises:
        WorldNotFoundError: if nothing has that name.
    """
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    text = os.fspath(name)
    wanted, _, version = text.partition("@")
    versions = {number: folder for world, number, folder in _bundled() if world == wanted}
    if versions and not version:
        return versions[max(versions)]
    for number, folder in versions.items():
        if str(number) == version:
            return folder
    if versions:
        raise WorldNotFoundError(
            f"there is no version {version!r} of the world {wanted!r}; there is "
            f"{', '.join(f'{wanted}@{number}' for number in sorted(versions))}."
        )
    if path.is_dir():
        raise WorldNotFoundError(
            f"the folder {path} holds no world: it has no config.json. Train one with 'nfd train'."
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not path.parent.is_dir():
        return _download(text)
    names = sorted(bundled_worlds())
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise WorldNotFoundError(
        f"there is no world {text!r}: neither a bundled one ({', '.join(names) or 'none'}) nor a "
        f"folder with a config.json.{hint}"
    )


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                repository, allow_patterns=["*.json", "*.safetensors", "*.parquet", "*.md"]
            )
        )
    except Exception as error:  # the hub client raises many kinds
        raise WorldNotFoundError(
            f"there is no folder {repository!r} with a config.json, and the Hugging Face Hub "
            f"did not give a repository of that name ({type(error).__name__}: {error})."
        ) from error
    if not (folder / "config.json").is_file():
        raise WorldNotFoundError(
            f"the repository {repository!r} on the Hugging Face Hub holds no world: it has no "
            "config.json."
        )
    return folder
