"""A comparison of distilled worlds as a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.plotting import COLOURS, GREY, figure, save

COLUMNS = ("PSNR", "changed", "Frechet", "NLL", "AUROC", "Spearman", "ms")
"""Likeness is that at horizon 16; the Frechet distance that of the last group."""
TICKS = tuple(n * 10**power for power in range(-1, 5) for n in (1, 2, 5))
"""Milliseconds at the axis."""


def describe(row: dict[str, Any]) -> str:
    """A row in one line."""
    return f"{row['network']}, {row['steps']} steps: " + ", ".join(
        f"{name} {value}" for name, value in zip(COLUMNS, _cells(row)[2:], strict=True)
    )


def _cells(row: dict[str, Any]) -> list[str]:
    scores = (row.get("hazard") or {}).get("scores")
    distances = list(row.get("frechet", {}).values())
    return [
        row["network"],
        str(row["steps"]),
        f"{row['psnr'][-1]['estimate']:.1f}",
        f"{row['psnr_changed'][-1]['estimate']:.1f}",
        f"{distances[-1]:.2f}" if distances else "-",
        f"{scores['nll']:.4f}" if scores else "-",
        f"{scores['auroc']:.2f}" if scores else "-",
        f"{row['spearman']['estimate']:.2f}" if "spearman" in row else "-",
        "-" if row["milliseconds"] is None else f"{row['milliseconds']:.1f}",
    ]


def table(rows: list[dict[str, Any]]) -> Table:
    """All rows, at horizon 16."""
    result = Table(
        title="distillation", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("network", "steps", *COLUMNS):
        result.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    for row in rows:
        result.add_row(*_cells(row))
    return result


def plot(rows: list[dict[str, Any]], path: Path, last: str) -> None:
    """Quality against the time of a step, one line per network.

    Args:
        rows: of the comparison; those that were not timed are left out.
        path: the PNG.
        last: the group of horizons whose Frechet distance is drawn.

    Raises:
        StorageError: if the file cannot be written.
    """
    names = list(dict.fromkeys(row["network"] for row in rows))
    panels = [
        ("PSNR at 16, dB", lambda row: row["psnr"][15]["estimate"]),
        ("PSNR of what changed, at 16, dB", lambda row: row["psnr_changed"][15]["estimate"]),
        (f"Frechet distance, {last}", lambda row: row.get("frechet", {}).get(last, np.nan)),
    ]
    times = [row["milliseconds"] for row in rows if row["milliseconds"] is not None] or [1.0]
    low, high = min(times) / 1.5, max(times) * 1.5
    fig, axes = figure(columns=len(panels))
    for ax, (title, value) in zip(axes[0], panels, strict=True):
        for index, name in enumerate(names):
            own = [
                row for row in rows if row["network"] == name and row["milliseconds"] is not None
            ]
            colour = GREY if name == "teacher" else COLOURS[index % len(COLOURS)]
            ax.plot(
                [row["milliseconds"] for row in own],
                [value(row) for row in own],
                "o-" if index < len(COLOURS) or name == "teacher" else "s--",
                color=colour,
                markersize=4,
                label=name,
            )
            for row in own:
                ax.annotate(str(row["steps"]), (row["milliseconds"], value(row)), fontsize=7)
        ax.set_xscale("log")
        ax.set_xticks([t for t in TICKS if low <= t <= high], labels=None, minor=False)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
        if "Frechet" in title:  # one that fell apart shall not hide the others
            ax.set_yscale("log")
        ax.set_xlabel("ms a step")
        ax.set_title(title)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, fontsize=8, frameon=False, loc="outside right center")
    save(fig, path)
