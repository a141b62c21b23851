"""Rewards and ends of episodes as tables for the terminal and plots for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from agents.statistics import format_number
from benchmarks.plotting import COLOURS, GREY, figure, save
from benchmarks.tables import interval_table

SOURCES = {"imagined": "imagined frames", "real_frames": "real frames"}
REWARD_ROWS = (
    ("mean absolute error", ("mae",)),
    ("  of the median", ("mae_base",)),
    ("correlation", ("correlation",)),
    ("rare rewards: precision", ("events", "precision")),
    ("rare rewards: recall", ("events", "recall")),
    ("rare rewards: F1", ("events", "f1")),
    ("return, absolute error", ("return", "mae")),
    ("return, bias", ("return", "bias")),
    ("return, real mean", ("return", "mean_real")),
)
END_ROWS = (
    ("expected / real ends", ("ratio",)),
    ("Brier score", ("scores", "brier")),
    ("  of the base rate", ("scores", "brier_base")),
    ("log loss, nats", ("scores", "log_loss")),
    ("  of the base rate", ("scores", "log_loss_base")),
    ("calibration error (ECE)", ("scores", "ece")),
    ("precision at the threshold", ("scores", "precision")),
    ("recall at the threshold", ("scores", "recall")),
    ("F1 at the threshold", ("scores", "f1")),
    ("AUROC", ("scores", "auroc")),
    ("steps lived, absolute error", ("time", "mae")),
    ("  of the base rate", ("time", "mae_base")),
    ("steps lived, bias", ("time", "bias")),
    ("steps lived, real mean", ("time", "mean_real")),
)


def sources(results: Mapping[str, Any], steps: str) -> dict[str, Mapping[str, Any]]:
    """What was measured with so many sampling steps, by :data:`SOURCES`."""
    found = {"imagined": results["by_steps"][steps], "real_frames": results["real_frames"]}
    return {name: part for name, part in found.items() if "why_not" not in part}


def tables(results: Mapping[str, Any], steps: str, title: str) -> list[Table]:
    """One table for rewards, one for the ends; imagined frames beside real ones."""
    parts = sources(results, steps)
    columns = [SOURCES[name] for name in parts]
    rewards, ends = (
        interval_table(f"{title}: {what}", columns) for what in ("rewards", "ends of episodes")
    )
    for label, place in REWARD_ROWS:
        _row(rewards, label, [_at(part["reward"], place) for part in parts.values()])
    until = [_at(part, ("return_until_the_end", "mae")) for part in parts.values()]
    _row(rewards, "return until the end, error", until)
    for label, place in END_ROWS:
        _row(ends, label, [_at(part["termination"], place) for part in parts.values()])
    if not parts:
        ends.caption = results["by_steps"][steps]["why_not"] + "."
        return [ends]
    first = next(iter(parts.values()))
    reasons = sorted(set(first["reward"]["not_measured"].values()))
    rewards.caption = "; ".join([f"{first['reward']['steps']} steps", *reasons]) + "."
    ends.caption = (
        f"{first['termination']['ends']} ends in {first['termination']['steps']} steps; called an "
        f"end above a probability of {results['threshold']:.3f}."
    )
    return [rewards, ends]


def plot(results: Mapping[str, Any], steps: str, path: Path) -> None:
    """Calibration, share alive by step, and returns of the clips.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(rows=1, columns=3)
    parts = sources(results, steps)
    _calibration(axes[0, 0], parts)
    _survival(axes[0, 1], parts)
    if "imagined" in parts:
        _returns(axes[0, 2], parts["imagined"]["return_until_the_end"]["clips"])
    save(fig, path)


def _calibration(ax: Any, parts: Mapping[str, Any]) -> None:
    top = 1e-3
    for (name, part), colour in zip(parts.items(), COLOURS, strict=False):
        bins = part["termination"]["bins"]
        x, y = [b["predicted"] for b in bins], [b["observed"] for b in bins]
        top = max([top, *x, *y])
        ax.plot(x, y, marker="o", markersize=3, color=colour, label=SOURCES[name])
    if parts:
        ax.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1)
        ax.legend(frameon=False, fontsize=7)
    ax.set_title("chance that a step ends the episode")
    ax.set_xlabel("predicted (bins of equally many steps)")
    ax.set_ylabel("happened")


def _survival(ax: Any, parts: Mapping[str, Any]) -> None:
    for (name, part), colour in zip(parts.items(), COLOURS, strict=False):
        alive = part["termination"]["alive"]["expected"]
        ax.plot(range(1, len(alive) + 1), _gaps(alive), color=colour, label=SOURCES[name])
    for part in list(parts.values())[:1]:
        alive = part["termination"]["alive"]["real"]
        ax.plot(range(1, len(alive) + 1), _gaps(alive), color=GREY, linestyle=":", label="real")
        ax.legend(frameon=False, fontsize=7)
    ax.set_title("share of clips still alive")
    ax.set_xlabel("step")


def _returns(ax: Any, clips: Mapping[str, Any]) -> None:
    real, predicted = clips["real"], clips["predicted"]
    ends = [min(real + predicted), max(real + predicted)]
    ax.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
    ax.plot(real, predicted, "o", color=COLOURS[0], markersize=3, alpha=0.5, linewidth=0)
    ax.set_title("return of each clip, until the end")
    ax.set_xlabel("real")
    ax.set_ylabel("imagined (expected)")


def _row(table: Table, label: str, intervals: list[Any]) -> None:
    """Adds a row, unless nobody has anything to say."""
    if any(interval is not None and interval["estimate"] is not None for interval in intervals):
        table.add_row(label, *(_text(interval) for interval in intervals))


def _text(interval: Mapping[str, Any] | None) -> str:
    if interval is None or interval["estimate"] is None:
        return "-"
    # A Brier score of 0.0123 is no 0.01; all three numbers in the same digits.
    small = 0 < abs(interval["estimate"]) < 0.1
    shown = (lambda value: f"{value:.4f}") if small else format_number
    low, high = interval["low"], interval["high"]
    ends = "" if None in (low, high) else f" [{shown(low)}, {shown(high)}]"
    return shown(interval["estimate"]) + ends


def _at(part: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        if part is None or name not in part:
            return None
        part = part[name]
    return part


def _gaps(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
