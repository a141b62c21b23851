"""Sentences that follow from figures, and how an interval decides between good, bad and open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agents.statistics import format_number

Verdict = Literal["bad", "open", "good"]
ENOUGH_EPISODES = 10
"""A bootstrap over fewer episodes promises too much."""


@dataclass(frozen=True)
class Finding:
    """One sentence."""

    verdict: Verdict
    """Whether it is a fault, unknown, or a virtue."""
    sentence: str
    """In plain words, with the figure."""


def weigh(finding: Finding, episodes: int) -> Finding:
    """The same, but open where intervals over so few episodes are narrower than they should be."""
    if episodes >= ENOUGH_EPISODES or finding.verdict == "open":
        return finding
    return Finding("open", f"{finding.sentence} Too few episodes ({episodes}) to be sure.")


def judge_multiple(ratio: Mapping[str, Any], *, more: str, less: str, equal: str) -> Finding:
    """Whether a figure that should be 1 is; sentences have a place, ``{}``, for the figure."""
    low, high = ratio["low"], ratio["high"]
    shown = spoken(ratio)
    if ratio["estimate"] is None or low is None or high is None:
        number = "an unknown number of" if ratio["estimate"] is None else shown
        return Finding("open", f"{equal.format(number)} Too few to tell.")
    if low > 1:
        return Finding("bad", more.format(shown))
    if high < 1:
        return Finding("bad", less.format(shown))
    if low < 0.5 or high > 2:
        return Finding("open", f"{equal.format(shown)} The interval is too wide to tell.")
    return Finding("good", equal.format(shown))


def spoken(interval: Mapping[str, Any], sign: int = 1, digits: int = 2) -> str:
    """``1.23 [1.10, 1.35]``; the estimate alone where there is no interval."""
    estimate = interval["estimate"]
    if estimate is None:
        return "unknown"
    ends = [interval["low"], interval["high"]]
    if None in ends:
        return f"{sign * estimate:.{digits}f}"
    low, high = sorted(sign * end for end in ends)
    return f"{sign * estimate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def spoken_return(interval: Mapping[str, Any], sign: int = 1) -> str:
    """The same with three digits or so, as returns may be of any size: ``826 [671, 1,000]``."""
    numbers = [interval[name] for name in ("estimate", "low", "high")]
    if None in numbers:
        return "unknown" if numbers[0] is None else format_number(sign * numbers[0])
    low, high = sorted(sign * end for end in numbers[1:])
    return f"{format_number(sign * numbers[0])} [{format_number(low)}, {format_number(high)}]"


def is_above(value: float | None, bar: float) -> bool:
    """Whether an end of an interval is known and above ``bar``."""
    return value is not None and value > bar


def is_below(value: float | None, bar: float) -> bool:
    """Whether an end of an interval is known and below ``bar``."""
    return value is not None and value < bar
