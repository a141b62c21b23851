"""Controllability as tables for the terminal and plots for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.fidelity_report import SHOWN, curves, horizon_table, section, text
from benchmarks.plotting import figure, save
from benchmarks.tables import interval_table


def tables(results: Mapping[str, Any], title: str) -> list[Table]:
    """One table by horizon, one for what a reader of actions sees."""
    horizons = [h for h in SHOWN if h <= len(results["gain"])]
    by_horizon = horizon_table(f"{title}: control", horizons)
    section(by_horizon, "PSNR gain, dB", {"over other actions": results["gain"]}, horizons)
    parting = results["divergence"]
    apart = {"by other actions": parting["by_actions"], "by other noise": parting["by_noise"]}
    section(by_horizon, "apart, grey levels", apart, horizons)
    section(by_horizon, "", {"share of actions": parting["share"]}, horizons, digits=2)
    reading = read_parts(results)
    for name, part in reading.items():
        both = {
            "imagined": part["by_horizon"]["imagined"],
            "real": part["by_horizon"]["ceiling"],
        }
        section(by_horizon, f"F1 of reading {name!r}", both, horizons, digits=2)
    by_horizon.caption = (
        f"Futures of {parting['clips']} contexts under {', '.join(parting['courses'])}."
    )
    found = [by_horizon, *(_reading_table(name, part) for name, part in reading.items())]
    told = results["counterfactual"]
    return found if "why_not" in told else [*found, _counterfactual_table(told, horizons)]


def read_parts(results: Mapping[str, Any]) -> dict[str, Any]:
    """What was read, by part of the action space; nothing where there is nothing to read."""
    found = results["inverse_dynamics"]
    return {} if "why_not" in found else dict(found)


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Gain, divergence, and what is read of the first part of the actions.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(rows=1, columns=3)
    parting = results["divergence"]
    curves(axes[0, 0], {"true over other actions": results["gain"]}, "gain of the actions", "dB")
    apart = {"other actions": parting["by_actions"], "other noise": parting["by_noise"]}
    curves(axes[0, 1], apart, "how far futures part", "grey levels")
    for name, part in list(read_parts(results).items())[:1]:
        both = {
            "imagined": part["by_horizon"]["imagined"],
            "real_frames": part["by_horizon"]["ceiling"],
        }
        curves(axes[0, 2], both, f"F1 of reading {name!r}", "")
        axes[0, 2].set_ylim(0, 1.02)
    save(fig, path)


def _reading_table(name: str, part: Mapping[str, Any]) -> Table:
    table = interval_table(
        f"inverse dynamics: {name!r} read off two frames",
        ("imagined", "real (ceiling)", "shuffled (floor)"),
    )
    table.add_row("macro F1", *(text(part[k], 2) for k in ("imagined", "ceiling", "floor")))
    for label, recalls in part["recall"].items():
        cells = (text(recalls[k], 2) for k in ("imagined", "ceiling"))
        table.add_row(f"recall of {label}", *cells, "")
    between = part["of_ceiling"]
    table.caption = (
        "Not even real frames show this part of the actions."
        if between is None
        else f"From floor to ceiling: {text(between, 2)}; {part['imagined']['n']} pairs of frames."
    )
    return table


def _counterfactual_table(told: Mapping[str, Any], horizons: list[int]) -> Table:
    table = horizon_table("counterfactual: against the real game under the same actions", horizons)
    section(table, "PSNR, dB", told["psnr"], horizons)
    section(table, "PSNR, changed, dB", told["psnr_changed"], horizons)
    section(table, "PSNR gain, dB", {"over other actions": told["gain"]}, horizons)
    apart = {"real futures": told["real_apart"], "imagined ones": told["imagined_apart"]}
    section(table, "apart, grey levels", apart, horizons)
    effect = {"cosine": told["effect_cosine"], "explained": told["effect_explained"]}
    section(table, "effect of actions", effect, horizons, digits=2)
    table.caption = (
        f"{told['clips']} of {told['tried']} clips, restored in the real game, under "
        f"{', '.join(told['courses'])}. {told['not_restored'] or ''}"
    ).strip()
    return table
