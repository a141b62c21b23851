"""Uncertainty as tables for the terminal, a plot, and a section of the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.fidelity_report import SHOWN
from benchmarks.fidelity_report import text as interval_text
from benchmarks.html_charts import Line, curves
from benchmarks.html_page import Html, fill, join, paragraph, section
from benchmarks.html_page import table as html_table
from benchmarks.plotting import COLOURS, GREY, figure, save
from benchmarks.tables import interval_table

SIGNS = {
    "uncertainty": "uncertainty",
    "largest_so_far": "the largest so far",
    "steps_imagined": "steps imagined",
    "chance_of_the_end": "chance of the end",
}
Rows = tuple[list[str], list[list[str]]]


def tables(results: Mapping[str, Any], title: str) -> list[Table]:
    """How well each sign tells what is wrong, and what limits cut off."""
    if "why_not" in results:
        empty = interval_table(f"{title}: uncertainty", ())
        empty.caption = f"{str(results['why_not']).capitalize()}."
        return [empty]
    shown = []
    for name, (header, rows) in (
        ("AUROC of the worst frames", frame_rows(results)),
        ("AUROC of wrong outcomes", outcome_rows(results)),
        ("limits", limit_rows(results)),
    ):
        table = interval_table(f"{title}: {name}", header[1:])
        for row in rows:
            table.add_row(*row)
        shown.append(table)
    shown[-1].caption = words_of_the_limit(results)
    return shown


def frame_rows(results: Mapping[str, Any]) -> Rows:
    """Header and rows: signs against the worst tenth of frames, of all and of single steps."""
    length = len(results["frames"]["uncertainty"]["by_step"])
    shown = sorted({1, min(length, SHOWN[-1])})
    header = ["sign", "all steps", *(f"step {h}" for h in shown)]
    rows = []
    for name, words in SIGNS.items():
        part = results["frames"][name]
        cells = [part["overall"], *(part["by_step"][h - 1] for h in shown)]
        rows.append([words, *(interval_text(cell, 2) for cell in cells)])
    return header, rows


def outcome_rows(results: Mapping[str, Any]) -> Rows:
    """Header and rows: signs against wrong ends and rewards, with how many there were."""
    outcomes = results["outcomes"]
    header = ["sign"]
    for what in outcomes:
        count = outcomes[what]["uncertainty"]["overall"]["wrong"]
        header.append(f"{what}s ({count} wrong)")
    rows = [
        [words, *(interval_text(part[name]["overall"], 2) for part in outcomes.values())]
        for name, words in SIGNS.items()
    ]
    return header, rows


def limit_rows(results: Mapping[str, Any]) -> Rows:
    """Header and rows: what each limit cuts off under real actions."""
    header = ["quantile: limit", "clips cut", "error kept", "error after"]
    rows = [
        [
            f"{row['quantile']:.1%}: {row['limit']:.3g}",
            interval_text(row["clips_cut"], 2),
            *(interval_text(row[key], 1) for key in ("error", "error_after")),
        ]
        for row in results["limits"]
    ]
    return header, rows


def words_of_the_limit(results: Mapping[str, Any]) -> str:
    """The recommended limit, and what the sign costs, in a sentence or two."""
    cost = results.get("cost")
    spent = "" if cost is None else f" The sign takes {cost['share']:.1%} of a step."
    return f"Recommended: max_uncertainty={results['recommended']:.3g}.{spent}"


def plot(results: Mapping[str, Any], path: Path) -> None:
    """AUROC by step, and risk against coverage.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(columns=2)
    left, right = axes[0]
    for colour, (name, words) in zip(COLOURS, SIGNS.items(), strict=False):
        if name == "steps_imagined":
            continue  # the same for all that are compared
        values = results["frames"][name]["by_step"]
        places = [h for h, v in enumerate(values, 1) if v["estimate"] is not None]
        left.plot(places, [values[h - 1]["estimate"] for h in places], color=colour, label=words)
    left.axhline(0.5, color=GREY, linestyle="--", linewidth=1)
    left.set(xlabel="steps imagined", ylabel="AUROC of the worst tenth of frames", ylim=(0, 1.02))
    left.legend(fontsize=7, frameon=False)
    for name, colour, words in (
        ("risk", COLOURS[0], "surest first"),
        ("oracle", GREY, "best frames first"),
    ):
        rows = results["risk_coverage"]
        right.plot(
            [r["coverage"] for r in rows],
            [r[name]["estimate"] for r in rows],
            color=colour,
            label=words,
        )
    right.set(xlabel="share of steps kept", ylabel="mean error, grey levels", ylim=(0, None))
    right.legend(fontsize=7, frameon=False)
    save(fig, path)


def uncertainty_section(folder: EvaluationFolder, steps: str) -> Html:
    """The section of the page."""
    results = folder.results("uncertainty", steps)
    title = f"Uncertainty, in {steps} sampling step{'s' if steps != '1' else ''}"
    if "why_not" in results:
        return section(
            f"uncertainty-{steps}", title, paragraph(f"{str(results['why_not']).capitalize()}.")
        )
    lines = [
        Line(words, list(enumerate(results["frames"][name]["by_step"], 1)))
        for name, words in SIGNS.items()
        if name != "steps_imagined"
    ]
    risk = [
        Line("surest first", [(r["coverage"], r["risk"]) for r in results["risk_coverage"]]),
        Line("best first", [(r["coverage"], r["oracle"]) for r in results["risk_coverage"]], True),
    ]
    charts = [
        curves(lines, "AUROC of the worst tenth of frames", "steps imagined"),
        curves(risk, "Error of the steps kept", "share kept", "grey levels"),
    ]
    return section(
        f"uncertainty-{steps}",
        title,
        paragraph(
            "Does the world know when it is wrong? The chance that its uncertainty is larger at a "
            "step that goes wrong than at one that does not (1: always, 0.5: a coin), and the mean "
            "error of frames where the least certain steps are left out."
        ),
        fill('<div class="grid">$it</div>', it=join(charts)),
        html_table(*frame_rows(results), "AUROC of the worst tenth of frames, of all and by step"),
        html_table(*outcome_rows(results), "AUROC of wrong outcomes"),
        html_table(*limit_rows(results), words_of_the_limit(results)),
    )
