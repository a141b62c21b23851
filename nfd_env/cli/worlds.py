"""``nfd worlds``: what is installed, and the card of each. Reads JSON and text only, no torch."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from world_model.errors import WorldFormatError, WorldNotFoundError


@dataclass(frozen=True)
class WorldsOptions:
    """Lists the bundled worlds; with a name, prints the card of that world."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """A bundled world (`doom-take-cover`, `doom-take-cover@1`) or the folder of one."""


@dataclass(frozen=True)
class WorldFolder:
    """What a world's folder says about itself."""

    path: Path
    """The folder."""
    config: dict[str, Any] = field(default_factory=dict)
    """What its config.json says of the world; empty where that cannot be read."""
    problem: str = ""
    """Why config.json cannot be read, or empty."""

    @property
    def name(self) -> str:
        """Name of the world; that of its folder where the config gives none."""
        return str(self.config.get("name", self.path.name))

    @property
    def version(self) -> str:
        """Version of the world, ``?`` where the config gives none."""
        return str(self.config.get("version", "?"))


def bundled_folder() -> Path:
    """The folder of the worlds that come with the package."""
    return Path(str(files("world_model"))) / "worlds"


def find_worlds(root: Path) -> list[WorldFolder]:
    """The worlds under ``root``: each subfolder with a ``config.json``, sorted by name."""
    if not root.is_dir():
        return []
    folders = [read_world(config.parent) for config in root.glob("*/config.json")]
    return sorted(folders, key=lambda world: (world.name, world.version))


def read_world(path: Path) -> WorldFolder:
    """Reads the config of the world at ``path``; a damaged one is told, not raised."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return WorldFolder(path, problem=f"unreadable config.json ({error})")
    world = config.get("world") if isinstance(config, dict) else None
    if not isinstance(world, dict):
        return WorldFolder(path, problem="config.json describes no world")
    return WorldFolder(path, world)


def select_world(name: str, root: Path) -> WorldFolder:
    """The world called ``name`` (``NAME``, the newest version; ``NAME@VERSION``) or at that path.

    Raises:
        WorldNotFoundError: if there is none.
        WorldFormatError: if its config cannot be read.
    """
    worlds = find_worlds(root)
    wanted, _, version = name.partition("@")
    matches = [w for w in worlds if w.name == wanted and version in ("", w.version)]
    if matches:
        world = max(matches, key=lambda w: int(w.version) if w.version.isdecimal() else -1)
    elif (Path(name) / "config.json").is_file():
        world = read_world(Path(name))
    else:
        names = sorted({w.name for w in worlds})
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        known = ", ".join(f"{w.name}@{w.version}" for w in worlds) or "none"
        raise WorldNotFoundError(f"no world {name!r}. {hint}Bundled worlds: {known}.")
    if world.problem:
        raise WorldFormatError(f"{world.path}: {world.problem}. Install or save the world again.")
    return world


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``nfd worlds``."""
    options = tyro.cli(WorldsOptions, prog="nfd worlds", args=argv)
    if options.name is None:
        _print_table(find_worlds(bundled_folder()))
    else:
        _print_card(select_world(options.name, bundled_folder()))
    return 0


def _print_table(worlds: list[WorldFolder]) -> None:
    if not worlds:
        print(f"no bundled worlds in {bundled_folder()}")
        return
    table = Table("world", "version", "frame", "fps", "steps", "source", "MB")
    for world in worlds:
        config = world.config
        size = sum(f.stat().st_size for f in world.path.rglob("*") if f.is_file()) / 1e6
        source = config.get("source")
        cells = [
            world.name,
            world.version,
            "x".join(map(str, config.get("frame_shape", ()))),
            str(config.get("fps", "")),
            str(config.get("sampling_steps", "")),
            world.problem or str(source.get("environment", "") if isinstance(source, dict) else ""),
            f"{size:.1f}",
        ]
        # Text, not str: a name with square brackets is not markup.
        table.add_row(*map(Text, cells))
    Console().print(table)


def _print_card(world: WorldFolder) -> None:
    card = world.path / "README.md"
    if not card.is_file():
        print(f"{world.name}@{world.version} has no card. Its config.json:")
        print(json.dumps(world.config, indent=2))
        return
    text = card.read_text(encoding="utf-8")
    if sys.stdout.isatty():
        Console().print(Markdown(_without_front_matter(text)))
    else:
        print(text)


def _without_front_matter(text: str) -> str:
    """The card without the YAML block that model hubs read."""
    if text.startswith("---\n"):
        _, separator, body = text[4:].partition("\n---\n")
        if separator:
            return body
    return text
