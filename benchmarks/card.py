"""``nfd evaluate --card``: what was measured, written into the card of the world.

Only what stands between two markers is replaced. The rest of the card is its author's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console

from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import (
    EvaluationFolder,
    command_of,
    find_evaluation,
    place_of,
    read_folder,
)
from benchmarks.findings import findings
from benchmarks.one_figure import Figure
from benchmarks.shown_figures import figures_of
from world_model.errors import DataError
from world_model.registry import find_world
from world_model.storage import atomic_file
from world_model.world import World

BEGIN = "<!-- measured: written by nfd evaluate --card, replaced by the next one -->"
END = "<!-- end of what was measured -->"
HEADING = "## How good it is"
_ESCAPES = str.maketrans({"<": "&lt;", "\n": " ", **{c: f"\\{c}" for c in "\\`*_|#"}})
WORDS = {"bad": "wrong", "open": "open", "good": "right"}


def run(options: EvaluateOptions, console: Console) -> int:
    """Writes the results of ``options.out`` (or of the default folder) into the world's card.

    Raises:
        DataError: if there are no results, or they are of another world.
        WorldNotFoundError: if there is no such world.
        StorageError: if the card cannot be written.
    """
    world = find_world(options.world)
    folder = read_folder(options.out) if options.out else find_evaluation(options.world)
    check_world(folder, World.from_pretrained(world).model_id)
    path = world / "README.md"
    before = path.read_text(encoding="utf-8") if path.is_file() else f"# {options.world}\n"
    after = filled(before, measured(folder))
    with atomic_file(path) as temporary:
        temporary.write_text(after, encoding="utf-8")
    console.print(f"{', '.join(folder.documents)} of {folder.path} stand in {path}")
    if gone := [part for part in parts_in(before) if part not in folder.documents]:
        console.print(f"no longer in it, as {folder.path} does not hold it: {', '.join(gone)}")
    return 0


def parts_in(card: str) -> list[str]:
    """Parts whose figures stand between the markers of a card."""
    block = card.partition(BEGIN)[2].partition(END)[0]
    return re.findall(r"^\* (\w+): `nfd evaluate", block, flags=re.MULTILINE)


def check_world(folder: EvaluationFolder, model_id: str) -> None:
    """Refuses results of another world, or of another version of it.

    Raises:
        DataError: if there are any.
    """
    others = [
        f"{part} is of {document['world']}"
        for part, document in folder.documents.items()
        if document["world"] != model_id
    ]
    if others:
        raise DataError(
            f"{folder.path} does not belong to the world {model_id}: {'; '.join(others)}. Measure "
            "it again, or give its folder with --out."
        )


def filled(card: str, block: str) -> str:
    """The card with ``block`` between the markers.

    Where there are none, they go to the end of the section "How good it is", or else to the end of
    the card.

    Raises:
        DataError: if a marker is missing, or they are out of order.
    """
    begins, ends = card.count(BEGIN), card.count(END)
    marked = f"{BEGIN}\n\n{block.strip()}\n\n{END}"
    if (begins, ends) == (1, 1) and card.index(BEGIN) < card.index(END):
        return card[: card.index(BEGIN)] + marked + card[card.index(END) + len(END) :]
    if begins or ends:
        raise DataError(
            f"the card has {begins} times {BEGIN!r} and {ends} times {END!r}: there should be one "
            "of each, in this order, or none."
        )
    lines = card.splitlines()
    if HEADING not in lines:
        return f"{card.rstrip()}\n\n{HEADING}\n\n{marked}\n"
    start = lines.index(HEADING) + 1
    stop = next((i for i in range(start, len(lines)) if lines[i].startswith("## ")), len(lines))
    section = "\n".join(lines[:stop]).rstrip()
    rest = "\n".join(lines[stop:])
    return f"{section}\n\n{marked}\n" + (f"\n{rest.rstrip()}\n" if rest else "")


def measured(folder: EvaluationFolder) -> str:
    """What was measured, as Markdown: in words, then figures, then how."""
    return "\n\n".join(["\n".join(_words(folder)), *_tables(folder), "\n".join(_how(folder))])


def _words(folder: EvaluationFolder) -> Iterator[str]:
    for finding in findings(folder):
        yield f"* {WORDS[finding.verdict]}: {_safe(finding.sentence)}"


def _tables(folder: EvaluationFolder) -> Iterator[str]:
    for part in folder.documents:
        columns = {
            steps: [f for f in figures_of(folder, part, steps or None) if f.chosen]
            for steps in folder.steps(part)
        }
        keys = dict.fromkeys(figure.key for figures in columns.values() for figure in figures)
        if not keys:  # nothing that fits into a card; the page has it all
            continue
        by_key = {steps: {f.key: f for f in figures} for steps, figures in columns.items()}
        heads = [f"{steps} step{'' if steps == '1' else 's'}" if steps else "" for steps in columns]
        alone = all(f.ends == "no interval" for figures in columns.values() for f in figures)
        what = part if alone else f"{part}, 95 % intervals"
        lines = [f"| {what} | {' | '.join(heads)} | n |",
                 f"|---|{'---|' * len(heads)}---|"]  # fmt: skip
        for key in keys:
            found = [by_key[steps].get(key) for steps in columns]
            one = next(figure for figure in found if figure is not None)
            title = f"{one.title}, {one.unit}" if one.unit else one.title
            cells = " | ".join(_cell(figure) for figure in found)
            lines.append(f"| {_safe(title)} | {cells} | {_safe(one.n)} |")
        yield "\n".join(lines)


def _how(folder: EvaluationFolder) -> Iterator[str]:
    yield f"Measured of `{folder.world}` by the protocol of `benchmarks/PROTOCOL.md`:"
    yield ""
    for part, document in folder.documents.items():
        where = place_of(document)
        yield f"* {part}: `{command_of(document)}`, {document['seconds']:.0f} s on {_safe(where)}"
    for part in folder.missing:
        name = folder.world.partition("#")[0]
        yield f"* {part}: not measured (`nfd evaluate {name} --measure {part}`)"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return figure.short if figure.ends == "no interval" else f"{figure.short} {figure.ends}"


def _safe(text: str) -> str:
    """Text that Markdown takes for text: no markup, no new cell, no marker."""
    return text.translate(_ESCAPES)
