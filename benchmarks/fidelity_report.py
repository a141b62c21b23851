"""Fidelity as tables for the terminal and plots for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.plotting import COLOURS, GREY, figure, save
from benchmarks.tables import interval_table

SHOWN = (1, 4, 16)
"""Horizons that tables show."""
NAMES = {
    "samples": "model",
    "shuffled_actions": "other actions",
    "repeat_last": "last frame",
    "real_frames": "real frames",
    "real_halves": "real halves",
    "one_step": "one step from real frames",
    "free_running": "free-running",
}
USUAL = 2_048
"""Clips that published video distances are mostly of."""
OURS = ("model", "samples")
PRESENCE = {"precision": "precision", "recall": "recall", "per_frame": "blobs a frame"}
Curve = Sequence[Mapping[str, Any]]


def tables(results: Mapping[str, Any], title: str) -> list[Table]:
    """One table for frames, one for each class of objects, one for their numbers over time."""
    found = [_frames_table(results, title)]
    if "frechet" in results:  # not in results of earlier releases
        found.append(_frechet_table(results["frechet"]))
    if "fvd" in results:
        found.append(_fvd_table(results["fvd"]))
    found += [_objects_table(name, part) for name, part in results.get("small_things", {}).items()]
    over_time = _over_time_table(results["long_rollouts"]["objects"])
    return [*found, over_time] if over_time.row_count else found


def _frames_table(results: Mapping[str, Any], title: str) -> Table:
    horizons = [h for h in SHOWN if h <= len(results["psnr"]["model"])]
    table = horizon_table(f"{title}: frames", horizons)
    section(table, "PSNR, dB", results["psnr"], horizons)
    section(table, "gain over, dB", results["psnr_gain_over"], horizons)
    section(table, "PSNR, changed, dB", results["psnr_changed"], horizons)
    if "ssim" in results:  # not in results of earlier releases
        section(table, "SSIM", results["ssim"], horizons, digits=3)
    forced = results.get("teacher_forced", {"why_not": ""})
    if "why_not" not in forced:
        section(table, "teacher-forced, PSNR, dB", forced["psnr"], horizons)
        section(table, "teacher-forced, SSIM", forced["ssim"], horizons, digits=3)
    if "samples" in results:
        samples = results["samples"]
        section(table, f"PSNR, {samples['clips']} clips", samples["psnr"], horizons)
        section(table, "energy score", samples["energy_score"], horizons)
    if "lpips" in results:
        section(table, "LPIPS", results["lpips"], horizons, digits=3)
    table.caption = (
        "Beside the model: itself under the actions of other clips, the last frame repeated, its "
        "own prediction blurred. Changed: pixels that differ from the last frame, in truth or in "
        "imagination. SSIM: likeness of structure, 1 where frames are equal. Energy score in grey "
        "levels, lower is better."
    )
    table.caption += f" {words_on_forced(forced)}"
    return table


def words_on_lent_actions(counts: Mapping[str, Any]) -> str:
    """Of how many clips the other actions are no others; empty where nobody counted."""
    same = counts.get("same_actions", [])
    if not any(same):
        return ""
    return (
        f"Other actions are by chance the true ones, up to step 1 of {same[0]} of "
        f"{counts['clips'][0]} clips, up to the last of {same[-1]} of {counts['clips'][-1]}: there "
        "the two curves cannot differ."
    )


def words_on_forced(forced: Mapping[str, Any]) -> str:
    """What one step from real frames tells, or why there is none."""
    if "why_not" in forced:
        return f"Not teacher-forced: {forced['why_not']}." if forced["why_not"] else ""
    return (
        "Teacher-forced: each frame imagined in one step from the real ones before it, so what "
        "free-running loses beside it are errors that accumulated."
    )


def _frechet_table(found: Mapping[str, Any]) -> Table:
    rows = found.get("distance", {})
    names = list(next(iter(rows.values()), ()))
    table = interval_table("Frechet distance to real frames", [*map(_label, names), "frames"])
    for steps, row in rows.items():
        shown = (text(distance, 2) for distance in row.values())
        table.add_row(f"steps {steps}", *shown, str(row["model"]["n"]))
    table.caption = words_on_frechet(found)
    return table


def words_on_frechet(found: Mapping[str, Any]) -> str:
    """What must be known to read the figures, or why there are none."""
    if "why_not" in found:
        return f"No Frechet distance of frames: {found['why_not']}."
    return (
        f"In the {found['directions']} {found['space']} ({found['weights']}): compare distances in "
        "features of the same weights and of equally many frames only; this is not FVD. Real "
        "halves: of half of the real frames to the others, which is what chance alone makes of "
        f"half as many. None (-) of {found['directions']} frames or fewer."
    )


def _fvd_table(found: Mapping[str, Any]) -> Table:
    table = interval_table("Frechet video distance (FVD) to real clips", ("distance", "clips"))
    for name, distance in found.get("distance", {}).items():
        table.add_row(_label(name), text(distance, 1), str(distance["n"]))
    table.caption = found.get("why_not") or words_on_fvd(found)
    return table


def words_on_fvd(found: Mapping[str, Any]) -> str:
    """What must be known to read the figure."""
    words = (
        f"{found['clips']} clips of {found['frames']} frames on either side, in I3D's 400 logits. "
        "The distance of few clips is too high by an amount that nobody knows: compare equal "
        "numbers of clips and frames only, of the same game. Real halves: of half of the real "
        "clips to the others, which is what chance alone makes of half as many."
    )
    if found["clips"] < USUAL:
        words += f" Published figures are mostly of {USUAL:,} clips or more; this is none of them."
    return words


def _objects_table(name: str, part: Mapping[str, Any]) -> Table:
    horizons = [h for h in SHOWN if h <= len(part["rmse_inside"]["model"])]
    table = horizon_table(f"{name}: where it is, and where it is not", horizons)
    section(table, "error inside", part["rmse_inside"], horizons, digits=0)
    for key, title in PRESENCE.items():
        lines = {who: result[key] for who, result in part["presence"].items()}
        section(table, title, lines, horizons, digits=2)
    real = part["detector_on_real_frames"]
    table.caption = (
        "Error in grey levels, over the pixels that the game labels. Blobs are what a detector "
        f"finds; on other real frames its precision is {text(real['precision'], 2)}, its recall "
        f"{text(real['recall'], 2)}."
    )
    return table


def _over_time_table(objects: Mapping[str, Any]) -> Table:
    table = Table(
        title="objects over time",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for column in ("imagined", "real", "ratio"):
        table.add_column(column, justify="right")
    for name, part in objects.items():
        table.add_row(
            f"{name}s a frame",
            *(text(part[column], 2) for column in ("imagined", "real", "ratio")),
        )
    return table


def plot(results: Mapping[str, Any], path: Path) -> None:
    """All curves in one PNG.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(rows=2, columns=3)
    curves(axes[0, 0], results["psnr"], "PSNR of whole frames", "dB")
    curves(axes[0, 1], results["psnr_changed"], "PSNR of the pixels that changed", "dB")
    if "samples" in results:
        curves(
            axes[0, 2],
            results["samples"]["energy_score"],
            "energy score: lower is better",
            "grey levels",
        )
    small = results.get("small_things", {})
    # The last class is the smallest by the data's convention: the one to look at.
    for name, part in list(small.items())[-1:]:
        for ax, key in ((axes[1, 0], "precision"), (axes[1, 1], "recall")):
            lines = {who: result[key] for who, result in part["presence"].items()}
            curves(ax, lines, f"{name}: {key}", "")
            ax.set_ylim(0, 1.02)
    if "ssim" in results:
        curves(axes[1, 2], results["ssim"], "SSIM", "")
    save(fig, path)


def curves(ax: Any, lines: Mapping[str, Curve], title: str, unit: str) -> None:
    """Draws curves with their intervals over the steps imagined."""
    colours = iter(COLOURS)
    for name, curve in lines.items():
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


def text(interval: Mapping[str, Any] | None, digits: int = 1) -> str:
    """``12.3 [11.9, 12.8]``, or a dash where nothing is known."""
    if interval is None or interval["estimate"] is None:
        return "-"
    low, high = (interval[end] for end in ("low", "high"))
    ends = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{interval['estimate']:.{digits}f}{ends}"


def horizon_table(title: str, horizons: Sequence[int]) -> Table:
    """An empty table with a column for each horizon."""
    return interval_table(title, (f"step {horizon}" for horizon in horizons))


def section(
    table: Table, title: str, lines: Mapping[str, Curve], horizons: Sequence[int], digits: int = 1
) -> None:
    """Adds a row for each curve, under a title (none if it is empty)."""
    if title:
        table.add_section()
        table.add_row(title, style="italic")
    for name, curve in lines.items():
        shown = [text(curve[h - 1], digits) for h in horizons]
        table.add_row(f" {_label(name)}", *shown, style="bold" if name in OURS else None)


def _label(name: str) -> str:
    return NAMES.get(name, name.replace("_", " "))
