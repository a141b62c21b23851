"""Fidelity as tables for the terminal and plots for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.plotting import COLOURS, GREY, figure, save

SHOWN = (1, 4, 16)
"""Horizons that tables show."""
NAMES = {
    "samples": "model",
    "shuffled_actions": "other actions",
    "repeat_last": "last frame",
    "real_frames": "real frames",
}
OURS = ("model", "samples")
PRESENCE = {"precision": "precision", "recall": "recall", "per_frame": "blobs a frame"}
Curve = Sequence[Mapping[str, Any]]


def tables(results: Mapping[str, Any], title: str) -> list[Table]:
    """One table for frames, one for each class of objects, one for the hazard."""
    found = [_frames_table(results, title)]
    found += [_objects_table(name, part) for name, part in results.get("small_things", {}).items()]
    return [*found, _hazard_table(results)]


def _frames_table(results: Mapping[str, Any], title: str) -> Table:
    horizons = [h for h in SHOWN if h <= len(results["psnr"]["model"])]
    table = _table(f"{title}: frames", horizons)
    _section(table, "PSNR, dB", results["psnr"], horizons)
    _section(table, "gain over, dB", results["psnr_gain_over"], horizons)
    _section(table, "PSNR, changed, dB", results["psnr_changed"], horizons)
    if "samples" in results:
        samples = results["samples"]
        _section(table, f"PSNR, {samples['clips']} clips", samples["psnr"], horizons)
        _section(table, "energy score", samples["energy_score"], horizons)
    table.caption = (
        "Beside the model: itself under the actions of other clips, the last frame repeated, its "
        "own prediction blurred. Changed: pixels that differ from the last frame, in truth or in "
        "imagination. Energy score in grey levels, lower is better."
    )
    return table


def _objects_table(name: str, part: Mapping[str, Any]) -> Table:
    horizons = [h for h in SHOWN if h <= len(part["rmse_inside"]["model"])]
    table = _table(f"{name}: where it is, and where it is not", horizons)
    _section(table, "error inside", part["rmse_inside"], horizons, digits=0)
    for key, title in PRESENCE.items():
        curves = {who: result[key] for who, result in part["presence"].items()}
        _section(table, title, curves, horizons, digits=2)
    real = part["detector_on_real_frames"]
    table.caption = (
        "Error in grey levels, over the pixels that the game labels. Blobs are what a detector "
        f"finds; on other real frames its precision is {text(real['precision'], 2)}, its recall "
        f"{text(real['recall'], 2)}."
    )
    return table


def _hazard_table(results: Mapping[str, Any]) -> Table:
    table = Table(
        title="ends of episodes, objects over time",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for column in ("expected", "real", "ratio", "Brier / base"):
        table.add_column(column, justify="right")
    for where, part in results["hazard"].items():
        scores = part["scores"]
        table.add_row(
            f"ends, {where.replace('_', ' ')}",
            f"{part['expected_ends']:.1f}",
            str(part["ends"]),
            text(part["ratio"], 2),
            "-" if scores is None else f"{scores['brier']:.4f} / {scores['brier_base']:.4f}",
        )
    for name, part in results["long_rollouts"]["objects"].items():
        table.add_row(
            f"{name}s a frame",
            text(part["imagined"], 2),
            text(part["real"], 2),
            text(part["ratio"], 2),
            "",
        )
    return table


def plot(results: Mapping[str, Any], path: Path) -> None:
    """All curves in one PNG.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(rows=2, columns=3)
    _curves(axes[0, 0], results["psnr"], "PSNR of whole frames", "dB")
    _curves(axes[0, 1], results["psnr_changed"], "PSNR of the pixels that changed", "dB")
    if "samples" in results:
        _curves(
            axes[0, 2],
            results["samples"]["energy_score"],
            "energy score: lower is better",
            "grey levels",
        )
    small = results.get("small_things", {})
    # The last class is the smallest by the data's convention: the one to look at.
    for name, part in list(small.items())[-1:]:
        for ax, key in ((axes[1, 0], "precision"), (axes[1, 1], "recall")):
            curves = {who: result[key] for who, result in part["presence"].items()}
            _curves(ax, curves, f"{name}: {key}", "")
            ax.set_ylim(0, 1.02)
    _reliability(axes[1, 2], results["hazard"])
    save(fig, path)


def _curves(ax: Any, curves: Mapping[str, Curve], title: str, unit: str) -> None:
    colours = iter(COLOURS)
    for name, curve in curves.items():
        baseline = name in ("repeat_last", "real_frames")
        colour = GREY if baseline else next(colours)
        known = [(h, point) for h, point in enumerate(curve, 1) if point["estimate"] is not None]
        x = [h for h, _ in known]
        ax.plot(
            x,
            [p["estimate"] for _, p in known],
            color=colour,
            label=_label(name),
            linestyle=":" if name == "real_frames" else "-",
        )
        ax.fill_between(
            x,
            [p["low"] if p["low"] is not None else p["estimate"] for _, p in known],
            [p["high"] if p["high"] is not None else p["estimate"] for _, p in known],
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
    ax.set_title(title)
    ax.set_xlabel("steps imagined")
    ax.set_ylabel(unit)
    ax.legend(frameon=False, fontsize=7)


def _reliability(ax: Any, hazard: Mapping[str, Any]) -> None:
    top = 1e-3
    for (where, part), colour in zip(hazard.items(), COLOURS, strict=False):
        x = [b["predicted"] for b in part["bins"]]
        y = [b["observed"] for b in part["bins"]]
        top = max([top, *x, *y])
        ax.plot(x, y, marker="o", markersize=3, color=colour, label=where.replace("_", " "))
    ax.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1)
    ax.set_title("chance that a step ends the episode")
    ax.set_xlabel("predicted (bins of equally many steps)")
    ax.set_ylabel("happened")
    ax.legend(frameon=False, fontsize=7)


def text(interval: Mapping[str, Any] | None, digits: int = 1) -> str:
    """``12.3 [11.9, 12.8]``, or a dash where nothing is known."""
    if interval is None or interval["estimate"] is None:
        return "-"
    low, high = (interval[end] for end in ("low", "high"))
    ends = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{interval['estimate']:.{digits}f}{ends}"


def _table(title: str, horizons: Sequence[int]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("95 % intervals", no_wrap=True)
    for horizon in horizons:
        table.add_column(f"step {horizon}", justify="right", no_wrap=True)
    return table


def _section(
    table: Table, title: str, curves: Mapping[str, Curve], horizons: Sequence[int], digits: int = 1
) -> None:
    table.add_section()
    table.add_row(title, style="italic")
    for name, curve in curves.items():
        shown = [text(curve[h - 1], digits) for h in horizons]
        table.add_row(f" {_label(name)}", *shown, style="bold" if name in OURS else None)


def _label(name: str) -> str:
    return NAMES.get(name, name.replace("_", " "))
