"""The page of an evaluation: one HTML file that shows everything and needs nothing else.

At the top stands what a person should know within a minute; numbers for all that follow.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.control_sections import controllability_section, probes_section
from benchmarks.evaluation_folder import EvaluationFolder, asked_as, command_of, read_folder
from benchmarks.exploitation_report import exploitation_section
from benchmarks.findings import findings
from benchmarks.html_page import Html, bullets, details, fill, join, page, paragraph, section, table
from benchmarks.lift_report import lift_section
from benchmarks.one_figure import Figure
from benchmarks.report_pictures import pictures_section
from benchmarks.report_sections import (
    fidelity_section,
    other_section,
    outcomes_section,
    ranking_section,
    stability_section,
)
from benchmarks.report_warnings import warnings_of
from benchmarks.shown_figures import figures_of
from benchmarks.uncertainty_report import uncertainty_section
from world_model.storage import atomic_file

NAME = "report.html"
HEADLINES = ("gain.repeat_last", "gain.shuffled_actions", "count", "ends.imagined", "spearman",
             "returns", "lead.blind", "usual")  # fmt: skip
"""Figures at the top, of each the last horizon, the last class, the worst statistic."""


def write_report(path: Path, reasons: Mapping[str, str] | None = None) -> Path:
    """Writes ``report.html`` into a folder of results.

    Args:
        path: the folder.
        reasons: why parts could not be measured, by part.

    Returns:
        The page.

    Raises:
        DataError: if the folder holds no results, or damaged ones.
        StorageError: if the page cannot be written.
    """
    content = render_report(read_folder(path), reasons or {})
    with atomic_file(path / NAME) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path / NAME


def render_report(folder: EvaluationFolder, reasons: Mapping[str, str] | None = None) -> str:
    """The page as a string."""
    sections = [*_sections(folder)]
    body = join(
        [
            Html("<main>"),
            _top(folder, reasons or {}),
            _not_measured(folder, reasons or {}),
            *sections,
            _protocol(folder),
            Html("</main>"),
        ]
    )
    return page(f"How good is {folder.world}?", body)


def headlines(folder: EvaluationFolder) -> list[Figure]:
    """The handful of figures for the top."""
    chosen = []
    for key in HEADLINES:
        found = [
            figure
            for part in folder.documents
            for figure in figures_of(folder, part)
            if figure.key.partition("@")[0] == key or figure.key.startswith(f"{key}.")
        ]
        found = [figure for figure in found if figure.interval["estimate"] is not None]
        if key == "usual":
            found.sort(key=lambda figure: -figure.interval["estimate"])
        chosen += found[-1:]
    return chosen


def _top(folder: EvaluationFolder, reasons: Mapping[str, str]) -> Html:
    name, _, content_hash = folder.world.partition("#")
    steps = sorted({folder.own_steps(part) for part in folder.documents} - {""})
    measured_in = f" in {' or '.join(steps)} sampling steps a frame," if steps else ""
    tiles = [
        fill(
            '<div class="tile"><span>$title</span><b>$estimate</b><span>95 % interval: $ends</span>'
            '<span class="soft">n: $n</span></div>',
            title=figure.title,
            estimate=f"{figure.short} {figure.unit}".strip(),
            ends=figure.ends,
            n=figure.n,
        )
        for figure in headlines(folder)
    ]
    found = findings(folder)
    groups = []
    for verdict, title in (("bad", "What it gets wrong"), ("open", "What is open"),
                           ("good", "What it gets right")):  # fmt: skip
        items = [(verdict, f.sentence) for f in found if f.verdict == verdict]
        if items:
            groups += [fill("<h2>$it</h2>", it=title), bullets(items)]
    return join(
        [
            Html("<header>"),
            fill("<h1>How good is $name?</h1>", name=name),
            paragraph(
                f"World {name}, content hash {content_hash or 'unknown'}, measured{measured_in} "
                f"on {_machine(folder)}.",
                "soft",
            ),
            *(paragraph(warning) for warning in warnings_of(folder, reasons)),
            Html("</header>"),
            fill('<div class="tiles">$it</div>', it=join(tiles)),
            *groups,
        ]
    )


def _sections(folder: EvaluationFolder) -> list[Html]:
    shown: list[Html] = []
    films: list[Html] = []

    def steps_of(part: str) -> list[str]:
        """The number of steps that stands for the world first."""
        own = folder.own_steps(part)
        return [own, *(steps for steps in folder.steps(part) if steps != own)]

    for part in folder.documents:
        if part == "fidelity":
            films += [pictures_section(folder, steps) for steps in steps_of(part)]
            shown += [fidelity_section(folder, steps) for steps in steps_of(part)]
        elif part == "outcomes":
            shown += [outcomes_section(folder, steps) for steps in steps_of(part)]
        elif part == "controllability":
            shown += [controllability_section(folder, steps) for steps in steps_of(part)]
        elif part == "probes":
            shown += [probes_section(folder, steps) for steps in steps_of(part)]
        elif part == "ranking":
            shown += [ranking_section(folder, steps) for steps in steps_of(part)]
        elif part == "uncertainty":
            shown += [uncertainty_section(folder, steps) for steps in steps_of(part)]
        elif part == "lift":
            shown += [lift_section(folder, steps) for steps in steps_of(part)]
        elif part == "exploitation":
            shown += [exploitation_section(folder, steps) for steps in steps_of(part)]
        elif part == "stability":
            shown += [stability_section(folder, steps) for steps in steps_of(part)]
        else:
            shown.append(other_section(folder, part))
    return [*shown, *films]


def _not_measured(folder: EvaluationFolder, reasons: Mapping[str, str]) -> Html:
    if not folder.missing:
        return Html("")
    name = asked_as(next(iter(folder.documents.values())))
    items = [
        (
            "open",
            fill(
                "$part: <code>nfd evaluate $name --measure $part</code>$reason",
                part=part,
                name=shlex.quote(name),
                reason=f" (it was tried: {reasons[part]})" if part in reasons else "",
            ),
        )
        for part in folder.missing
    ]
    return section("missing", "Not measured", bullets(items))


def _protocol(folder: EvaluationFolder) -> Html:
    parts = []
    for part, document in folder.documents.items():
        data = document.get("data") or {}
        rows = [["world", document["world"]]]
        if data:
            rows += [
                ["data set, content hash", data.get("content_hash")],
                ["split", f"{data.get('split')}, {data.get('episodes')} episodes"],
            ]
        rows += [
            ["machine", _machine_of(document)],
            ["versions", _pairs(document.get("versions", {}))],
            ["seconds", document["seconds"]],
        ]
        settings = [[key, _plain(value)] for key, value in document["settings"].items()]
        words = [["", "words"]] * max(len(rows), len(settings))
        parts += [
            fill("<h3>$part</h3><pre>$command</pre>", part=part, command=command_of(document)),
            table(["what", "which"], rows, f"How {part} was measured", words),
            details("Every setting, seeds included",
                    table(["setting", "value"], settings, f"Settings of {part}", words)),
        ]  # fmt: skip
    return section(
        "protocol",
        "Protocol, seeds, versions, machine, and how to repeat it",
        fill(
            "<p>The fixed protocol, with splits, seeds, numbers of clips and episodes, and how "
            "intervals are made, is <code>benchmarks/PROTOCOL.md</code>. Commands below take the "
            "data set from <code>data/NAME</code>; name another folder with <code>--data</code>, "
            "that of these results with <code>--out</code>, and the folder of the world where it "
            "is none that comes with the package."
            "</p>"
        ),
        *parts,
    )


def _machine(folder: EvaluationFolder) -> str:
    machines = dict.fromkeys(_machine_of(document) for document in folder.documents.values())
    return "; ".join(machines)


def _machine_of(document: Mapping[str, Any]) -> str:
    machine = document.get("machine", {})
    threads = machine.get("torch_threads", document.get("torch_threads"))
    parts = [
        f"{machine.get('processor', 'an unknown machine')} ({machine.get('cpus', '?')} CPUs, torch "
        f"on {threads} thread{'' if threads == 1 else 's'})"
    ]
    if machine.get("gpu"):
        parts.append(str(machine["gpu"]))
    return ", ".join(parts)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "the world's own"
    if isinstance(value, Mapping):
        return _pairs(value)
    return "the world's own" if value is None else str(value)
