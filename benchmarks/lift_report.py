"""Returns of agents in the real game: a table, a plot, and a section of the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.fidelity_report import text as interval_text
from benchmarks.html_page import Html, paragraph, section
from benchmarks.html_page import table as html_table
from benchmarks.one_figure import digits_of
from benchmarks.plotting import COLOURS, GREY, ends_of, figure, save
from benchmarks.tables import interval_table


def table(results: Mapping[str, Any], title: str) -> Table:
    """One row for each group."""
    header, rows = group_rows(results)
    shown = interval_table(f"{title}: returns in the real game", header[1:])
    for row in rows:
        shown.add_row(*row)
    shown.caption = words(results)
    return shown


def group_rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: mean and IQM, and the lead of the first group."""
    header = ["who", "agents", "mean", "IQM", "lift over it", "chance to beat it"]
    rows, groups = [], results["groups"]
    digits = digits_of(*(part[key] for part in groups.values() for key in ("mean", "iqm")))
    for name, part in groups.items():
        lift = results["lift"].get(name, {})
        rows.append(
            [
                name,
                str(part["agents"] or "-"),
                interval_text(part["mean"], digits),
                interval_text(part["iqm"], digits),
                interval_text(lift.get("lead"), digits),
                interval_text(lift.get("improvement"), 2),
            ]
        )
    return header, rows


def words(results: Mapping[str, Any]) -> str:
    """What was trained how long."""
    trained = [
        f"{name}: {arm['steps']:,} steps" for name, arm in results["training"].items() if arm
    ]
    spoken = "; ".join(trained) + ". " if trained else ""
    looking = results.get("best_looking")
    looks = f", {looking} the best that looks," if looking else ""
    return (
        f"{spoken}Lift and chance are those of {results['of']}; {results['best_blind']} is the "
        f"best blind policy{looks} by these same episodes."
    )


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Interquartile means with intervals.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(size=(6.2, 3.0))
    ax = axes[0, 0]
    for place, (name, part) in enumerate(reversed(results["groups"].items())):
        iqm = part["iqm"]
        colour = COLOURS[0] if name == results["of"] else GREY
        ax.plot(ends_of(iqm), [place, place], color=colour, linewidth=5, alpha=0.4)
        ax.plot([iqm["estimate"]], [place], "o", color=colour)
    ax.set_yticks(range(len(results["groups"])), list(reversed(results["groups"])))
    ax.set_xlabel("interquartile mean of the real return")
    save(fig, path)


def lift_section(folder: EvaluationFolder, steps: str) -> Html:
    """The section of the page."""
    results = folder.results("lift", steps)
    return section(
        f"lift-{steps}",
        f"Lift, in {steps} sampling step{'s' if steps != '1' else ''}",
        paragraph(
            "What training in the world is worth in the real game, beside chance, the best blind "
            "policy, and the same PPO on real steps."
        ),
        html_table(*group_rows(results), words(results)),
    )
