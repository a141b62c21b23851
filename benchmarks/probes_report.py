"""What probes read off imagined frames, as tables for the terminal and plots for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.fidelity_report import SHOWN, curves, horizon_table, section, text
from benchmarks.plotting import figure, save
from benchmarks.tables import interval_table

MAX_PLOTS = 6
"""Quantities that the plot shows."""


def tables(results: Mapping[str, Any], title: str) -> list[Table]:
    """How well probes read real frames, and what they read off imagined ones by horizon."""
    ceiling = interval_table(f"{title}: state probes", ("R2", "mean absolute error"))
    for name, part in results.get("read", {}).items():
        error = f"{text(part['ceiling']['mae'], 2)} {part['unit']}".strip()
        ceiling.add_row(f"{name}, real frames", text(part["ceiling"]["r2"], 2), error)
    left_out = [f"{name}: {why}" for name, why in results["not_read"].items()]
    if "why_not" in results:
        left_out.append(f"Nothing was measured: {results['why_not']}")
    ceiling.caption = "\n".join(left_out)
    if not results.get("read"):
        return [ceiling]
    horizons = [h for h in SHOWN if h <= len(results["counts"]["clips"])]
    by_horizon = horizon_table("read off frames", horizons)
    for name, part in results["read"].items():
        section(by_horizon, f"{name}: R2", part["r2"], horizons, digits=2)
        section(by_horizon, error_title(name, part), part["mae"], horizons, digits=2)
        section(by_horizon, f"{name}: error saved over", part["gain_over"], horizons, digits=2)
    by_horizon.caption = (
        "Of the true state at the same step. Last frame: the true state of the last given frame. "
        "Real frames: what the probes make of the real frames of the same steps, as good as it "
        "gets."
    )
    return [ceiling, by_horizon]


def error_title(name: str, part: Mapping[str, Any]) -> str:
    """``angle: mean absolute error, degrees``."""
    return ", ".join(filter(None, (f"{name}: mean absolute error", part["unit"])))


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Errors by horizon, a picture for each quantity.

    Raises:
        StorageError: if the file cannot be written.
    """
    read = list(results["read"].items())[:MAX_PLOTS]
    fig, axes = figure(rows=(len(read) + 2) // 3, columns=min(3, len(read)))
    for ax, (name, part) in zip(axes.flat, read, strict=False):
        curves(ax, part["mae"], f"{name}: mean absolute error", part["unit"])
        ax.set_ylim(bottom=0)
    save(fig, path)
