"""One figure of a world: what it is, of how many, its interval, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", "one", "zero", ""]
"""Which way is better; ``one``, ``zero``: the nearer to it the better; empty: neither."""
SIDES = ("real", "imagined")
"""Where policies play, as documents name it."""


@dataclass(frozen=True)
class Figure:
    """One number of a world."""

    key: str
    """Short name, the same in every evaluation."""
    title: str
    """What it is, in words."""
    unit: str
    """Empty where it has none."""
    interval: Mapping[str, Any]
    """``estimate``, ``low``, ``high``; the ends are None where nothing was resampled."""
    n: str
    """Of how many clips, episodes or steps."""
    better: Better = ""
    """Which way is better."""
    digits: int = 2
    """Decimals to show."""
    chosen: bool = True
    """Whether somebody chose it to be shown; the others are all that a document holds besides."""
    otherwise: str = "-"
    """What to show where there is no number."""

    @property
    def short(self) -> str:
        """The number alone."""
        estimate = self.interval["estimate"]
        return self.otherwise if estimate is None else f"{estimate:.{self.digits}f}"

    @property
    def ends(self) -> str:
        """The interval, or a word for none."""
        low, high = self.interval.get("low"), self.interval.get("high")
        if low is None or high is None:
            return "no interval"
        return f"[{low:.{self.digits}f}, {high:.{self.digits}f}]"


def digits_of(*intervals: Mapping[str, Any]) -> int:
    """Decimals that show some three digits of the largest of returns, which may be of any size."""
    ends = [interval[name] for interval in intervals for name in ("estimate", "low", "high")]
    largest = max((abs(end) for end in ends if end is not None), default=0.0)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2
