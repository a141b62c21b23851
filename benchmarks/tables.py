"""The look of tables of figures with intervals on the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table


def interval_table(title: str, columns: Iterable[str]) -> Table:
    """An empty table: names at the left, a figure with its interval in each column."""
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        min_width=60,  # for the words below a small one
    )
    table.add_column("95 % intervals", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table
