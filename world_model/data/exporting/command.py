"""``nfd export``: data sets in the formats of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from world_model.data.exporting.hub import HubApi, push
from world_model.data.exporting.lerobot import export_lerobot
from world_model.data.exporting.minari import export_minari
from world_model.data.exporting.source import open_source
from world_model.data.exporting.video import export_video
from world_model.data.metadata import CODEBASE_VERSION
from world_model.errors import DataError
from world_model.progress import LoggedProgress


@dataclass(frozen=True)
class ExportCommand:
    """Writes a data set in another format.

    lerobot: a LeRobotDataset v3.0. minari: Minari's Arrow files. video: an mp4 and a jsonl file per
    episode. 'nfd import lerobot', 'minari' and 'folder' read them back.
    """

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Folder of the data set."""
    format: Annotated[Literal["lerobot", "minari", "video"], tyro.conf.Positional]
    """What to write."""
    out: Path
    """New folder to write to."""
    camera: str = "observation.images.main"
    """lerobot: column of the frames."""
    plain: bool = False
    """lerobot: without what only this project reads; frames that nobody acted on are left out."""
    push_to_hub: str | None = None
    """Upload the result to the Hugging Face Hub, as the data set NAME/DATA_SET."""
    private: bool = False
    """With --push-to-hub: only for yourself."""


def run(command: ExportCommand, console: Console, api: HubApi | None = None) -> None:
    """Exports as the settings say.

    Raises:
        NFDError: with a text for the user.
    """
    source = open_source(command.data)
    if command.out.exists() and any(command.out.iterdir()):
        raise DataError(f"{command.out} is not empty. Choose a new folder, or delete it.")
    with LoggedProgress(console=console) as progress:
        bar = progress.add_task(str(command.out), total=source.frames)

        def report(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        if command.format == "lerobot":
            export_lerobot(source, command.out, report, camera=command.camera, plain=command.plain)
        elif command.format == "minari":
            export_minari(source, command.out, report)
        else:
            export_video(source, command.out, report)
    episodes = int(source.content["total_episodes"])
    console.print(
        f"{command.out}: {episodes:,} episodes, {source.frames:,} frames.", soft_wrap=True
    )
    if command.push_to_hub is not None:
        tag = CODEBASE_VERSION if command.format == "lerobot" else None
        address = push(command.out, command.push_to_hub, private=command.private, tag=tag, api=api)
        console.print(address, soft_wrap=True)


def main(argv: list[str]) -> int:
    """Entry point of ``nfd export``; an NFDError is for the caller to show."""
    run(tyro.cli(ExportCommand, args=argv, prog="nfd export"), Console())
    return 0
