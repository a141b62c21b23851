"""Which data set a world was learned from, where nobody says so."""

from __future__ import annotations

from pathlib import Path

from world_model.data.metadata import INFO_PATH
from world_model.errors import DataError
from world_model.world_config import WorldConfig

FOLDER = Path("data")
"""Where ``nfd collect`` leaves recordings."""


def find_dataset(config: WorldConfig, given: Path | None = None) -> Path:
    """Folder of the data set that a world was learned from.

    Looked for are, in this order, ``data/NAME`` by the name of the world (``nfd train --name``), by
    the name of its recordings (``nfd collect --name``), and by the preset that both begin with.

    Args:
        config: of the world.
        given: the folder that the user names, which is taken as it is.

    Raises:
        DataError: if no folder is given and there is none of them.
    """
    if given is not None:
        return given
    source = config.source
    names = [str(n) for n in (config.name, source.get("name"), source.get("preset")) if n]
    folders = [FOLDER / name for name in dict.fromkeys(names)]
    whole = [folder for folder in folders if (folder / INFO_PATH).is_file()]
    # Whoever opens an unfinished recording hears what to do.
    found = whole or [folder for folder in folders if folder.is_dir()]
    if not found:
        raise DataError(
            f"the data set that the world {config.name} was learned from is needed, and there is "
            f"no folder {' or '.join(str(folder) for folder in folders)} here. Name its folder "
            "with --data."
        )
    return found[0]
