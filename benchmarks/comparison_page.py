"""``nfd evaluate --compare``: a table in the terminal and a page that put worlds side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.comparison import Row, columns_of, side_by_side
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import EvaluationFolder, find_evaluation
from benchmarks.html_charts import Line, curves
from benchmarks.html_page import Html, details, fill, join, page, paragraph, section, table
from benchmarks.protocols import note_on, protocol_of
from world_model.storage import atomic_file

NOTE = (
    "Bold: surely the best, its 95 % interval overlaps with no other. Intervals are of each world "
    "alone; figures without one are never marked."
)
CURVES = (("psnr", "model", "PSNR of whole frames", "dB"),
          ("psnr_gain_over", "shuffled_actions", "PSNR gained over other actions", "dB"),
          ("psnr_changed", "model", "PSNR of the pixels that changed", "dB"))  # fmt: skip
Tables = Mapping[str, tuple[list[str], list[Row]]]


def run(options: EvaluateOptions, console: Console) -> int:
    """Prints the tables and writes ``comparison.html``.

    Raises:
        DataError: if an evaluation is missing, or they were measured in different ways.
        StorageError: if the page cannot be written.
    """
    folders = [find_evaluation(name) for name in options.compare]
    tables = side_by_side(folders)
    for part, (names, rows) in tables.items():
        console.print(terminal_table(part, names, rows))
        if note := note_on(part, having(part, folders)):
            console.print(Text(note))
    console.print(NOTE)
    path = (options.out or Path("runs")) / "comparison.html"
    with atomic_file(path) as temporary:
        temporary.write_text(render(folders, tables), encoding="utf-8")
    console.print(f"the page is {path}")
    return 0


def terminal_table(part: str, names: Sequence[str], rows: Sequence[Row]) -> Table:
    """One row per figure, one column per world."""
    result = Table(title=part, title_justify="left", box=SIMPLE_HEAD)
    result.add_column("95 % intervals")
    for name in names:
        # Text, not str: a folder's name with square brackets is not markup.
        result.add_column(Text(name), justify="right")
    for row in rows:
        cells = [
            Text(_cell(row, i), style="bold" if i == row.best else "") for i in range(len(names))
        ]
        result.add_row(Text(row.title), *cells)
    return result


def render(folders: Sequence[EvaluationFolder], tables: Tables) -> str:
    """The page as a string."""
    worlds = list(dict.fromkeys(folder.world for folder in folders))
    body = join(
        [
            Html("<main>"),
            fill("<h1>$it</h1>", it=" beside ".join(w.partition("#")[0] for w in worlds)),
            paragraph(NOTE, "soft"),
            *(_part(part, names, rows, folders) for part, (names, rows) in tables.items()),
            _missing(folders, tables),
            Html("</main>"),
        ]
    )
    return page("Worlds side by side", body)


def _part(
    part: str, names: Sequence[str], rows: Sequence[Row], folders: Sequence[EvaluationFolder]
) -> Html:
    cells = [[row.title, *(_cell(row, i) for i in range(len(names))), _n(row)] for row in rows]
    classes = [
        ["", *("best" if i == row.best else "" for i in range(len(names))), ""] for row in rows
    ]
    measured = having(part, folders)
    protocol = [[k, _plain(v)] for k, v in protocol_of(part, measured[0].documents[part]).items()]
    note = note_on(part, measured)
    machines = [
        [str(folder.path), str(folder.documents[part]["world"]),
         str(folder.documents[part].get("machine", {}).get("processor", "unknown"))]
        for folder in measured
    ]  # fmt: skip
    return section(
        part,
        part.capitalize(),
        paragraph(note) if note else "",
        _curves(measured) if part == "fidelity" else "",
        table(["figure", *names, "n"], cells, f"{part}, 95 % intervals", classes),
        details(
            "What was equal, and where it was measured",
            table(["setting", "value"], protocol, "Protocol"),
            table(["folder", "world", "processor"], machines, "Machines"),
        ),
    )


def having(part: str, folders: Sequence[EvaluationFolder]) -> list[EvaluationFolder]:
    """Those that measured a part."""
    return [folder for folder in folders if part in folder.documents]


def _curves(folders: Sequence[EvaluationFolder]) -> Html:
    charts = []
    for group, who, title, unit in CURVES:
        lines = []
        for column in columns_of("fidelity", folders):
            curve = column.folder.results("fidelity", column.steps)[group][who]
            lines.append(Line(column.name, list(enumerate(curve, 1))))
        charts.append(curves(lines, title, "steps imagined", unit))
    return fill('<div class="grid">$it</div>', it=join(charts))


def _missing(folders: Sequence[EvaluationFolder], tables: Tables) -> Html:
    words = [
        f"{folder.path} has no {part}: nfd evaluate {folder.world.partition('#')[0]} --measure "
        f"{part}."
        for part in tables
        for folder in folders
        if part not in folder.documents
    ]
    alone = [
        f"{part} was measured in {folder.path} only."
        for folder in folders
        for part in folder.documents
        if part not in tables
    ]
    if not (words or alone):
        return Html("")
    return section("missing", "Not compared", *(paragraph(it) for it in [*words, *alone]))


def _cell(row: Row, column: int) -> str:
    figure = row.figures[column]
    if figure is None:
        return "-"
    return f"{figure.short} {figure.ends}" if figure.ends != "no interval" else figure.short


def _n(row: Row) -> str:
    counts = dict.fromkeys(figure.n for figure in row.figures if figure is not None)
    return "; ".join(counts)


def _plain(value: object) -> str:
    return re.sub(r"[\[\]']", "", str(value))
