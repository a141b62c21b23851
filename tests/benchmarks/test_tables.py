"""Tables of figures on the terminal, and how many decimals returns have in them."""

import io

import pytest
from rich.console import Console

from benchmarks import lift_report
from benchmarks.one_figure import digits_of
from benchmarks.tables import interval_table
from tests.benchmarks import evaluations as made


def printed(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("largest", "digits"), [(4.33, 2), (-4.33, 2), (12.0, 1), (-110.0, 0), (1468.0, 0), (0.0, 2)]
)
def test_returns_of_any_size_show_some_three_digits(largest, digits):
    small = {"estimate": 0.1, "low": None, "high": None}
    assert digits_of(small, {"estimate": largest, "low": None, "high": None}) == digits
    assert digits_of(small, {"estimate": 0.0, "low": 0.0, "high": largest}) == digits


def test_without_returns_there_are_two_digits():
    assert digits_of({"estimate": None, "low": None, "high": None}) == digits_of() == 2


def test_small_returns_are_not_rounded_away():
    _, rows = lift_report.group_rows(made.lift(real=1.0, blind=0.25, width=0.125))
    assert [row[2] for row in rows] == [
        f"{mean} [{low}, {high}]"
        for mean, low, high in [("1.0", "0.9", "1.1"), ("30.0", "29.9", "30.1"),
                                ("10.0", "9.9", "10.1"), ("0.2", "0.1", "0.4")]
    ]  # fmt: skip


def test_a_narrow_terminal_cuts_nothing_off():
    table = interval_table("six columns", [f"column {i}" for i in range(6)])
    table.add_row("a-name-as-long-as-it-may-be", *["-12.34 [-13.45, -11.23]"] * 6)
    shown = printed(table)
    assert "…" not in shown
    assert shown.count("-12.34") == shown.count("-11.23]") == 6
    assert "a-name-as-long-as-it-may-be" in "".join(
        line[:10].strip() for line in shown.splitlines()
    )
    assert max(map(len, shown.splitlines())) <= 80
