"""What was found of one long episode, in words that the terminal and the page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.divergence import OVERALL

CALLED = {"mean": "brightness", "deviation": "contrast"}
"""What people call the statistics of :mod:`benchmarks.frame_statistics`."""


def called(name: str) -> str:
    """The word for a statistic: ``brightness`` for ``mean``; names that have none are kept."""
    return CALLED.get(name, name)


def time_of_leaving(results: Mapping[str, Any], name: str) -> str:
    """When a statistic left its usual range for good, for a table: ``step 312`` or ``no``.

    ``-`` in results of earlier releases, which did not ask.
    """
    if "divergence" not in results:
        return "-"
    step = results["divergence"]["statistics"].get(name)
    return "no" if step is None else f"step {step:,}"


def statistic_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """For a table: a statistic, usual range, first and last tenth, share, time of leaving."""
    return [
        [
            called(name),
            f"{part['training'][1]:.1f} to {part['training'][2]:.1f}",
            f"{part['first_tenth_mean']:.1f}",
            f"{part['last_tenth_mean']:.1f}",
            f"{part['share_in_usual_range']:.1%}",
            time_of_leaving(results, name),
        ]
        for name, part in results["statistics"].items()
    ]


def length_rows(stretches: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """For a table: a stretch's steps, frames per second, share in the range, Frechet distance."""
    return [
        [
            f"{row['first']:,} to {row['last']:,}",
            f"{row['frames_per_second']:.1f}",
            f"{row['share_in_usual_range']:.1%}",
            "-" if row["frechet"] is None else f"{row['frechet']:.2f}",
        ]
        for row in stretches
    ]


def not_within(results: Mapping[str, Any]) -> str:
    """``not within 4,000 steps``."""
    return f"not within {results['steps']:,} steps"


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What was found besides the statistics of frames; none of what was not asked."""
    found, speed = results.get("determinism"), results.get("throughput", {})
    said = [*_leaving(results), *([] if found is None else _same_again(found))]
    if "frames_per_second" in speed:
        said.append(f"{batch_of(speed)}: {speed['frames_per_second']:.1f} frames/s.")
    return said


def batch_of(speed: Mapping[str, Any]) -> str:
    """``32 streams in one batch``."""
    return f"{speed['streams']} streams in one batch"


def _leaving(results: Mapping[str, Any]) -> list[str]:
    if "divergence" not in results:
        return []
    step = results["divergence"][OVERALL]
    when = not_within(results) if step is None else f"from step {step:,} on"
    return [f"Left the usual range for good: {when}."]


def _same_again(found: Mapping[str, Any]) -> list[str]:
    again, beside = found["again"], found["beside_others"]
    said = []
    if "why_not" not in again:
        said.append(
            f"{found['steps']} steps again with the same seed and actions: {likeness(again)}."
        )
    if "why_not" not in beside:
        apart = f"no pixel is more than {beside['largest_difference']} of 255 grey levels off"
        said.append(
            f"The same beside {beside['streams'] - 1} other streams: {beside['equal_frames']:.1%} "
            f"of the frames are equal, {apart}; with rewards and ends, {likeness(beside)}."
        )
    reasons: dict[str, str] = {}
    for what, part in (("The same again", again), ("The same beside others", beside)):
        if "why_not" in part:
            reasons.setdefault(part["why_not"], what)  # one reason for both is given once
    return [*said, *(f"{what}: {why}." for why, what in reasons.items())]


def likeness(found: Mapping[str, Any]) -> str:
    """``equal, bit for bit``, or the share of steps that are, and the first that is not."""
    first = found["first_different"]
    if first is None:
        return "equal, bit for bit"
    where = "the start already differs" if first == 0 else f"step {first} is the first that is not"
    return f"{found['equal_share']:.1%} of the steps are equal, {where}"
