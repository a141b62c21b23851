"""Parts of one long comparison: numbered, kept in a file, read again and put together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import plain
from world_model.errors import NFDError

Part = dict[str, Any]
"""What was counted in a part, and its number under ``part``."""


def read_parts(path: Path, world: str, settings: Mapping[str, Any]) -> list[Part]:
    """The parts that a file holds; none if there is no such file.

    Args:
        path: a document of ``nfd bench exact``.
        world: id of the world that they must be of.
        settings: what they must have been made under.

    Raises:
        NFDError: if they are of another world or other settings, or the file is damaged.
    """
    try:
        document = json.loads(path.read_text())
        found = (document["world"], document["settings"], document["results"]["parts"])
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise NFDError(
            f"{path} holds no results of this command ({error!r}). Choose another --out."
        ) from error
    if found[:2] != (world, plain(dict(settings))):
        raise NFDError(
            f"{path} holds results of {found[0]} under {found[1]}. To go on with them give "
            "the same settings; to begin anew choose another --out, or delete it."
        )
    # Older files do not number their parts.
    return [{"part": number, **part} for number, part in enumerate(found[2])]


def next_part(parts: Sequence[Part]) -> int:
    """A number that no part has."""
    return max((part["part"] for part in parts), default=-1) + 1


def join_parts(
    parts: Sequence[Part], files: Iterable[Path], world: str, settings: Mapping[str, Any]
) -> list[Part]:
    """``parts`` and those of the files.

    Raises:
        NFDError: if a file is missing, does not belong to them, or brings a part that is there.
    """
    joined = list(parts)
    for path in files:
        more = read_parts(path, world, settings)
        if not more:
            raise NFDError(f"--join {path}: there is no such file, or no part in it.")
        twice = {part["part"] for part in joined} & {part["part"] for part in more}
        if twice:
            raise NFDError(f"--join {path}: part {min(twice)} is there already.")
        joined += more
    return joined
