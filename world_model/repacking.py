"""Stores a world in fewer bytes, without making it another world.

A world is named by the hash of all that it is made of, and what was measured of it names it so.
Repacked, it imagines the same to the last bit: its clips are stored as lossless WebP, and the
matrices of the teacher, which nothing imagines with unless it is asked for, in 8 bits.
``config.json`` names the new files' hashes beside those that they had.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from world_model.errors import ConfigError
from world_model.storage import atomic_folder, file_hash, save_tensors
from world_model.weights import stored_weights
from world_model.world import World
from world_model.world_config import config_text, identity_of


def repack(folder: str | Path) -> int:
    """Repacks the world in ``folder``; what would not become smaller stays.

    Args:
        folder: of a world.

    Returns:
        Bytes saved.

    Raises:
        WorldNotFoundError, WorldFormatError: if there is no such world, or it is damaged.
        ConfigError: if its config was edited by hand: it is no longer what its name says.
        StorageError: if the disk is full; the world is as it was.
    """
    folder = Path(folder)
    world = World.from_pretrained(folder)
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    saved = 0
    with atomic_folder(folder) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        for name in _write_smaller(world, temporary / "smaller"):
            new, old = temporary / "smaller" / name, temporary / name
            gain = old.stat().st_size - new.stat().st_size
            if gain > 0:
                saved += gain
                new.replace(old)
                data.setdefault("repacked", {})[name] = file_hash(old)
        shutil.rmtree(temporary / "smaller")
        text = config_text(data)
        if identity_of(text) != world.content_hash:
            raise ConfigError(f"{folder / 'config.json'} was edited by hand. Save the world anew.")
        (temporary / "config.json").write_text(text, encoding="utf-8")
    return saved


def _write_smaller(world: World, folder: Path) -> list[str]:
    """The files of a world that can be stored in fewer bytes, in a folder of their own."""
    folder.mkdir()
    for kind, clips in (("contexts", world.contexts), ("moments", world.moments)):
        if clips is not None:
            clips.save(folder / f"{kind}.parquet")
    if world.teacher is not None:
        weights = stored_weights(world.teacher.network, torch.int8)
        save_tensors(weights, folder / "teacher.safetensors")
    return sorted(path.name for path in folder.iterdir())
