"""Evaluations side by side, figure by figure; only of what was measured in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.evaluation_folder import EvaluationFolder
from benchmarks.one_figure import Better, Figure
from benchmarks.protocols import check_same
from benchmarks.shown_figures import figures_of
from world_model.errors import DataError


@dataclass(frozen=True)
class Column:
    """One world in one number of sampling steps, as far as a part was measured with it."""

    name: str
    """What stands above the column."""
    folder: EvaluationFolder
    """Where it was measured."""
    steps: str
    """Number of sampling steps; empty where the part has one only."""
    figures: Mapping[str, Figure]
    """By key."""


@dataclass(frozen=True)
class Row:
    """One figure of every world."""

    title: str
    """What it is, with its unit."""
    figures: tuple[Figure | None, ...]
    """One per column; None where it was not measured."""
    best: int | None
    """The column that is surely the best; None where intervals overlap."""


def side_by_side(folders: Sequence[EvaluationFolder]) -> dict[str, tuple[list[str], list[Row]]]:
    """Names of the columns, and the rows, of every part that two evaluations or more have.

    Raises:
        DataError: if there are fewer than two evaluations, they have nothing in common, or were
            measured in different ways.
    """
    if len(folders) < 2:
        raise DataError("--compare needs two evaluations or more.")
    tables = {}
    for part in dict.fromkeys(part for folder in folders for part in folder.documents):
        having = [folder for folder in folders if part in folder.documents]
        if len(having) < 2:
            continue
        check_same(part, having)
        columns = columns_of(part, having)
        tables[part] = ([column.name for column in columns], rows_of(columns))
    if not tables:
        measured = "; ".join(f"{f.path} has {', '.join(f.documents)}" for f in folders)
        raise DataError(f"these evaluations have no part in common: {measured}.")
    return tables


def columns_of(part: str, folders: Sequence[EvaluationFolder]) -> list[Column]:
    """One column for every world and number of steps; equal names are told apart by folder."""
    worlds = [str(folder.documents[part]["world"]) for folder in folders]
    columns = []
    for world, folder in zip(worlds, folders, strict=True):
        place = f" ({folder.path})" if worlds.count(world) > 1 else ""
        for steps in folder.steps(part):
            plural = "" if steps == "1" else "s"
            name = f"{world}{place}" + (f", {steps} step{plural}" if steps else "")
            figures = figures_of(folder, part, steps or None)
            by_key = {figure.key: figure for figure in figures}
            columns.append(Column(name, folder, steps, by_key))
    return columns


def rows_of(columns: Sequence[Column]) -> list[Row]:
    """A row for every figure that a column has."""
    rows = []
    for key in dict.fromkeys(key for column in columns for key in column.figures):
        figures = tuple(column.figures.get(key) for column in columns)
        one = next(figure for figure in figures if figure is not None)
        title = f"{one.title}, {one.unit}" if one.unit else one.title
        rows.append(Row(title, figures, surely_best(figures, one.better)))
    return rows


def surely_best(figures: Sequence[Figure | None], better: Better) -> int | None:
    """The place of the figure whose interval is better than every other's, and overlaps with none.

    Figures without an interval, or with nothing beside them, are never the best.
    """
    ranges = [None if figure is None else _badness(figure, better) for figure in figures]
    known = [(i, part) for i, part in enumerate(ranges) if part is not None]
    present = [figure for figure in figures if figure is not None]
    if not better or len(known) < 2 or len(known) < len(present):
        return None
    place, (_, worst_case) = min(known, key=lambda item: item[1][1])
    if all(worst_case < low for i, (low, _) in known if i != place):
        return place
    return None


def _badness(figure: Figure, better: Better) -> tuple[float, float] | None:
    """The interval as one of which less is better."""
    low, high = figure.interval.get("low"), figure.interval.get("high")
    if low is None or high is None or figure.interval["estimate"] is None:
        return None
    if better == "higher":
        return -high, -low
    if better in ("one", "zero"):
        ideal = float(better == "one")
        away = sorted((abs(low - ideal), abs(high - ideal)))
        return (0.0 if low <= ideal <= high else away[0]), away[1]
    return low, high
