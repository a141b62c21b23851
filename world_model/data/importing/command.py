"""``nfd import``: make data sets of recordings that others made."""

from __future__ import annotations

import difflib
import sys
import time
from importlib import import_module

import tyro
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from world_model.data.importing.findings import KINDS, Findings
from world_model.data.importing.importer import REPORT_PATH, import_recordings, open_writer
from world_model.data.importing.recordings import ImportFormat
from world_model.errors import ConfigError
from world_model.progress import LoggedProgress

FORMATS = {
    "vpt": ("vpt", "VPT", "OpenAI VPT contractor recordings of Minecraft: mp4 and jsonl"),
    "basalt": ("vpt", "VPT", "BASALT 2022 and MineRL 1.0, in the same files"),
    "minerl": (
        "minerl",
        "MineRL",
        "MineRL 0.3 and 0.4: recording.mp4, rendered.npz, metadata.json",
    ),
    "lerobot": ("lerobot", "LeRobot", "LeRobotDataset v2.1 and v3.0, our own data sets too"),
    "minari": ("minari", "Minari", "Minari 0.5: HDF5 or Arrow files"),
    "hf": (
        "huggingface",
        "HuggingFace",
        "Hugging Face data sets: parquet files, or NAME/SET",
    ),
    "folder": (
        "folder",
        "Folder",
        "videos with a csv, jsonl or npy file beside each, and a schema",
    ),
}
"""By name: module, class, and a line for the help."""


def run(recordings: ImportFormat, console: Console) -> Findings:
    """Imports as the settings say, with a progress bar and a summary.

    Raises:
        NFDError: with a text for the user.
    """
    recordings.check()
    plan = recordings.plan()
    writer = open_writer(recordings, plan)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    started, frames = time.monotonic(), 0
    with LoggedProgress(*columns, console=console) as progress:
        bar = progress.add_task(str(recordings.out), total=len(plan.units()), note="")
        before = writer.frames

        def report(placed: int, read: int) -> None:
            nonlocal frames
            frames += read
            rate = frames / max(time.monotonic() - started, 1e-6)
            note = f"{before + frames:,} frames, {rate:.0f} frames/s"
            progress.update(bar, completed=placed, note=note)

        findings = import_recordings(recordings, plan, writer, report=report)
    console.print(summary(findings))
    kept = findings.kept
    minutes = kept["frames"] / plan.info.fps / 60
    console.print(
        f"{recordings.out}: {kept['recordings']:,} of {len(plan.recordings):,} recordings, "
        f"{kept['episodes']:,} episodes, {kept['frames']:,} frames ({minutes:,.1f} minutes). "
        f"Details: {recordings.out / REPORT_PATH}",
        soft_wrap=True,
    )
    return findings


def summary(findings: Findings) -> Table:
    """What was kept, repaired and dropped, as a table."""
    table = Table(title="import")
    for name in ("", "what", "how many", "recordings", "for example"):
        table.add_column(name, justify="right" if name in ("how many", "recordings") else "left")
    kept = findings.kept
    table.add_row("kept", "", f"{kept['frames']:,} frames", f"{kept['recordings']:,}", "")
    for kind in KINDS:
        for row in findings.rows(kind):
            many, examples = f"{row['count']:,} {row['of']}", row["examples"]
            table.add_row(kind, row["reason"], many, f"{row['recordings']:,}", examples[0])
    return table


def main(argv: list[str]) -> int:
    """Entry point of ``nfd import``; an NFDError is for the caller to show."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, rest = argv[0], argv[1:]
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There is {', '.join(FORMATS)}."
        raise ConfigError(f"unknown format {name!r}. {hint}")
    module, kind, _ = FORMATS[name]
    config = getattr(import_module(f"world_model.data.importing.{module}"), kind)
    recordings = tyro.cli(config, args=rest, prog=f"nfd import {name}")
    try:
        run(recordings, Console())
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


def _help() -> str:
    width = max(map(len, FORMATS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, _, text) in FORMATS.items()]
    return "\n".join(
        [
            "usage: nfd import FORMAT SOURCE --out DIR [options]",
            "       (nfd import FORMAT --help lists the options)",
            "",
            *lines,
        ]
    )
