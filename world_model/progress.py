"""Progress of long work: a bar where there is a terminal, a line a minute where there is none."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID

SECONDS_BETWEEN_LINES = 60.0
"""A log file shall show life, and not be long."""


class LoggedProgress(Progress):
    """A bar of rich's; where none can be drawn, such as in a log file, lines now and then.

    Args:
        columns: of the bar. The fields ``unit`` and ``note`` of a task are part of the lines too.
        console: where to.
        visible: whether to show anything.
        options: of :class:`rich.progress.Progress`.
    """

    def __init__(
        self,
        *columns: str | ProgressColumn,
        console: Console,
        visible: bool = True,
        **options: Any,
    ) -> None:
        drawn = visible and console.is_terminal
        super().__init__(*columns, console=console, disable=not drawn, **options)
        self._logs = visible and not drawn
        self._spoken = time.monotonic()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As rich's."""
        super().update(task_id, **changes)
        if self._logs and time.monotonic() - self._spoken >= SECONDS_BETWEEN_LINES:
            self._spoken = time.monotonic()
            (task,) = (task for task in self.tasks if task.id == task_id)
            self.console.print(progress_line(task), soft_wrap=True, highlight=False, markup=False)


def progress_line(task: Task) -> str:
    """A task as a line of text.

    >>> from rich.progress import TaskID
    >>> fields = {"unit": " frames", "note": "3 left out"}
    >>> progress_line(Task(TaskID(0), "read", 2000, 500, float, fields=fields))
    'read: 500 of 2,000 frames, 3 left out'
    """
    total = "" if task.total is None else f" of {task.total:,.0f}"
    line = f"{task.description}: {task.completed:,.0f}{total}{task.fields.get('unit', '')}"
    if note := task.fields.get("note"):
        line = f"{line}, {note}"
    if left := task.time_remaining:
        line = f"{line}, {timedelta(seconds=round(left))} left"
    return line
