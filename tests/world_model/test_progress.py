"""Lines where no bar can be drawn."""

import io

import pytest
from rich.console import Console

from world_model import progress
from world_model.progress import LoggedProgress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def work(clock, seconds, **options):
    """What ten steps leave on the console, of so many seconds each."""
    console = Console(file=io.StringIO(), width=60, **options.pop("console", {}))
    with LoggedProgress(console=console, get_time=lambda: clock[0], **options) as bar:
        task = bar.add_task("a long way to /some/folder/of/a/run", total=10, note="")
        for step in range(10):
            clock[0] += seconds
            bar.update(task, completed=step + 1, note=f"loss {step}")
    return console.file.getvalue()


def test_a_line_a_minute_and_no_more(clock):
    lines = work(clock, 25.0).splitlines()
    assert len(lines) == 3
    assert lines[0] == "a long way to /some/folder/of/a/run: 3 of 10, loss 2, 0:02:55 left"
    assert [line.split(",")[0][-7:] for line in lines] == ["3 of 10", "6 of 10", "9 of 10"]


def test_short_work_says_nothing(clock):
    assert work(clock, 5.0) == ""


def test_a_terminal_gets_a_bar(clock):
    text = work(clock, 25.0, console={"force_terminal": True, "color_system": None})
    assert "loss" not in text
    assert "100%" in text


def test_a_second_process_is_silent(clock):
    assert work(clock, 25.0, visible=False) == ""
