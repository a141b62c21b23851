"""A bar that counts things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from world_model.progress import LoggedProgress


@contextmanager
def counting(console: Console, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that adds to the count."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with LoggedProgress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda more: progress.update(task, advance=more)
