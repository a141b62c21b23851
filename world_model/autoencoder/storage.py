"""A trained tokenizer as a folder: ``config.json`` and ``tokenizer.safetensors``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.errors import StorageError, WorldFormatError, WorldNotFoundError
from world_model.storage import atomic_folder, save_tensors
from world_model.tokenizer import tokenizer_from_dict
from world_model.weights import (
    file_hashes,
    load_weights,
    read_text,
    stored_weights,
    verify_file,
)

FORMAT_VERSION = 1
"""Version of the folder layout; another one is refused."""
WEIGHTS = "tokenizer.safetensors"
"""File of the weights, here and in a world's folder."""


def save_tokenizer(
    tokenizer: AutoencoderTokenizer, path: str | os.PathLike[str], trained: dict[str, Any]
) -> Path:
    """Writes a tokenizer as one folder, replacing an older one as a whole.

    Args:
        tokenizer: what to write, weights as they are.
        path: the folder.
        trained: JSON-able notes of what it was trained on, and how.

    Returns:
        The folder.

    Raises:
        StorageError: if the disk is full, or the folder holds something else than a tokenizer.
    """
    target = Path(path)
    if target.is_dir() and any(target.iterdir()) and not (target / WEIGHTS).is_file():
        raise StorageError(
            f"{target} holds files but no tokenizer, and saving would replace them. Choose a "
            "folder that is new, empty or a tokenizer."
        )
    with atomic_folder(target) as folder:
        save_tensors(stored_weights(tokenizer), folder / WEIGHTS)
        description = {
            "format_version": FORMAT_VERSION,
            "tokenizer": tokenizer.to_dict(),
            "trained": trained,
            "files": file_hashes(folder),
        }
        (folder / "config.json").write_text(json.dumps(description, indent=1) + "\n")
    return target


def load_tokenizer(path: str | os.PathLike[str]) -> AutoencoderTokenizer:
    """The tokenizer that :func:`save_tokenizer` wrote, on the CPU, for use and not for training.

    Args:
        path: its folder, or the folder of the run that made it.

    Raises:
        WorldNotFoundError: if there is none.
        WorldFormatError: if a file is damaged or missing, or of another format version.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file() and (folder / "tokenizer").is_dir():
        folder = folder / "tokenizer"
    where = folder / "config.json"
    if not where.is_file():
        raise WorldNotFoundError(
            f"{path} holds no tokenizer: it has no config.json. Train one with 'nfd tokenizer'."
        )
    try:
        data = json.loads(read_text(where))
        version, fields = data["format_version"], dict(data["tokenizer"])
        files = dict(data["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise WorldFormatError(
            f"{where} is not the config of a tokenizer ({error!r}). Download or save it anew."
        ) from error
    if version != FORMAT_VERSION:
        raise WorldFormatError(
            f"{where} has format version {version!r}; this version of nfd-world reads "
            f"{FORMAT_VERSION}. Upgrade nfd-world, or save it anew."
        )
    if fields.get("kind") != "autoencoder" or "world" in data:
        raise WorldFormatError(
            f"{where} describes no autoencoder of its own. Give the folder that 'nfd tokenizer' "
            "made."
        )
    for file, expected in files.items():
        verify_file(folder / file, expected)
    try:
        tokenizer = tokenizer_from_dict(fields)
        assert isinstance(tokenizer, AutoencoderTokenizer)
    except (ValueError, TypeError) as error:
        raise WorldFormatError(
            f"{where} is damaged or incomplete: {error}. Download or save it anew."
        ) from error
    load_weights(tokenizer, folder / WEIGHTS)
    return tokenizer.eval().requires_grad_(False)
