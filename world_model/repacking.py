"""Stores the teacher of a world in 8 bits, without making it another world.

A world is named by the hash of all that it is made of, and what was measured of it names it so.
The teacher, which nothing imagines with unless it is asked for, is half of a distilled world's
size. Repacked, its matrices are stored in 8 bits, and ``config.json`` says so beside the hash that
the file had; the identity, and every other file, stay as they were.
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
from world_model.world_config import identity_of

TEACHER = "teacher.safetensors"


def repack_teacher(folder: str | Path) -> int:
    """Stores the teacher of the world in ``folder`` in 8 bits.

    Args:
        folder: of a world.

    Returns:
        Bytes saved.

    Raises:
        WorldNotFoundError, WorldFormatError: if there is no such world, or it is damaged.
        ConfigError: if it keeps no teacher, or its teacher is repacked already.
        StorageError: if the disk is full; the world is as it was.
    """
    folder = Path(folder)
    world = World.from_pretrained(folder)
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if world.teacher is None or TEACHER in data.get("repacked", {}):
        why = "keeps no teacher" if world.teacher is None else "has a repacked teacher already"
        raise ConfigError(f"{world.model_id} {why}: there is nothing to repack.")
    before = (folder / TEACHER).stat().st_size
    with atomic_folder(folder) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        save_tensors(stored_weights(world.teacher.network, torch.int8), temporary / TEACHER)
        data["repacked"] = {TEACHER: file_hash(temporary / TEACHER)}
        text = json.dumps(data, indent=1) + "\n"
        if identity_of(text) != world.content_hash:
            raise ConfigError(f"{folder / 'config.json'} was edited by hand. Save the world anew.")
        (temporary / "config.json").write_text(text, encoding="utf-8")
    return before - (folder / TEACHER).stat().st_size
