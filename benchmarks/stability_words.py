"""What was found of one long episode, in words that the terminal and the page share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.divergence import OVERALL


def time_of_leaving(results: Mapping[str, Any], name: str) -> str:
    """When a statistic left its usual range for good, for a table: ``step 312`` or ``no``.

    ``-`` in results of earlier releases, which did not ask.
    """
    if "divergence" not in results:
        return "-"
    step = results["divergence"]["statistics"].get(name)
    return "no" if step is None else f"step {step:,}"


def not_within(results: Mapping[str, Any]) -> str:
    """``not within 4,000 steps``."""
    return f"not within {results['steps']:,} steps"


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What was found besides the statistics of frames; none of what was not asked."""
    return [*_leaving(results)]


def _leaving(results: Mapping[str, Any]) -> list[str]:
    if "divergence" not in results:
        return []
    step = results["divergence"][OVERALL]
    when = not_within(results) if step is None else f"from step {step:,} on"
    return [f"Left the usual range for good: {when}."]
