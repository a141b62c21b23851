"""Finds worlds: a bundled name, a folder, or a repository on the Hugging Face Hub."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path

from world_model.errors import WorldNotFoundError

BUNDLED_WORLDS = Path(__file__).parent / "worlds"
"""Folder of the worlds that come with the package."""


def bundled_worlds() -> dict[str, Path]:
    """Folders of the bundled worlds by name; the newest version of each."""
    found: dict[str, tuple[int, Path]] = {}
    for config in sorted(BUNDLED_WORLDS.glob("*/config.json")):
        world = json.loads(config.read_text())["world"]
        newest = found.get(world["name"], (-1, config.parent))
        if world["version"] > newest[0]:
            found[world["name"]] = (world["version"], config.parent)
    return {name: path for name, (_, path) in found.items()}


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
    for config in sorted(BUNDLED_WORLDS.glob("*/config.json"), reverse=True):
        world = json.loads(config.read_text())["world"]
        if world["name"] == wanted and (not version or str(world["version"]) == version):
            return bundled_worlds()[wanted] if not version else config.parent
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
        return Path(
            snapshot_download(
                repository, allow_patterns=["*.json", "*.safetensors", "*.parquet", "*.md"]
            )
        )
    except Exception as error:  # the hub client raises many kinds
        raise WorldNotFoundError(
            f"there is no folder {repository!r} with a config.json, and the Hugging Face Hub "
            f"did not give a repository of that name ({type(error).__name__}: {error})."
        ) from error
