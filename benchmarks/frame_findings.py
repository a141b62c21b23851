"""What frames show of a world, in plain words: each sentence follows from a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.verdicts import Finding, is_above, is_below, judge_multiple, spoken

LITTLE_DB = 0.5
"""PSNR lost to errors that add up, below which it is next to nothing."""


def of_frames(results: Mapping[str, Any]) -> Iterator[Finding]:
    """Of single frames: against baselines, and how much of their error has added up."""
    gains = results["psnr_gain_over"]
    last = len(gains["repeat_last"])
    yield judge_gain(
        gains["repeat_last"],
        good=f"Its frames are nearer to what really happened than the last frame repeated, at "
        f"each of the {last} steps",
        partly="Its frames are surely nearer to what really happened than the last frame "
        "repeated at some steps only",
        bad="Its frames are further from what really happened than the last frame repeated",
        unsure="Whether its frames are any nearer to what really happened than the last frame "
        "repeated cannot be told",
    )
    yield judge_gain(
        gains["shuffled_actions"],
        good="It listens to actions: under those of another clip its frames are worse, at each of "
        f"the {last} steps",
        partly="Under the actions of another clip its frames are surely worse at some steps only",
        bad="It does better under the actions of another clip than under the true ones",
        unsure="Whether it listens to actions cannot be told: under those of another clip its "
        "frames are about as good",
    )
    below = [h for h, point in enumerate(gains["blurred"], 1) if is_below(point["high"], 0)]
    if below:
        at = gains["blurred"][below[-1] - 1]
        yield Finding(
            "bad",
            f"Details are often not where they should be: blurred, its frames would be nearer to "
            f"the truth from step {below[0]} on (by {spoken(at, -1)} dB at step {below[-1]}).",
        )
    forced = results.get("teacher_forced", {})
    if "accumulated" in forced:
        yield from _accumulated(forced["accumulated"]["psnr"])


def of_objects(results: Mapping[str, Any]) -> Iterator[Finding]:
    """Of what is in the frames: how many there are, and whether they are where they should be."""
    steps = max((len(p["by_step"]["real"]) for p in _counts(results).values()), default=0)
    for name, part in _counts(results).items():
        yield judge_multiple(
            part["ratio"],
            more=f"It shows too many {name}s, {{}} times as many as there really were, over "
            f"{steps} steps.",
            less=f"It shows too few {name}s, {{}} times as many as there really were, over {steps} "
            "steps.",
            equal=f"It shows about as many {name}s as there really were, {{}} times, over {steps} "
            "steps.",
        )
    for name, part in results.get("small_things", {}).items():
        recall, still = (part["presence"][who]["recall"] for who in ("model", "repeat_last"))
        h = len(recall)
        while h > 1 and recall[h - 1]["estimate"] is None:
            h -= 1
        if is_below(recall[h - 1]["high"], 0.5):
            yield Finding(
                "bad",
                f"After {h} steps few {name}s are where they really were: recall "
                f"{spoken(recall[h - 1])}, with the last frame repeated {spoken(still[h - 1])}.",
            )


def judge_gain(
    curve: Sequence[Mapping[str, Any]], *, good: str, partly: str, bad: str, unsure: str
) -> Finding:
    """Whether a difference that should be positive is, at every horizon."""
    above = [h for h, point in enumerate(curve, 1) if is_above(point["low"], 0)]
    below = [h for h, point in enumerate(curve, 1) if is_below(point["high"], 0)]
    known = [h for h, point in enumerate(curve, 1) if point["estimate"] is not None]
    shown = known[-1] if known else len(curve)
    figure = f"{spoken(curve[shown - 1], digits=1)} dB at step {shown}"
    if below:
        return Finding("bad", f"{bad} ({_steps(below)}; {figure}).")
    if len(above) == len(known) and known:
        return Finding("good", f"{good} ({figure}).")
    if above:
        return Finding("open", f"{partly} ({_steps(above)}; {figure}).")
    return Finding("open", f"{unsure} ({figure}).")


def _accumulated(curve: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    known = [h for h, point in enumerate(curve, 1) if h > 1 and point["estimate"] is not None]
    if not known:
        return
    lost = curve[known[-1] - 1]
    figure = f"{spoken(lost, digits=1)} dB at step {known[-1]}"
    if is_below(lost["high"], LITTLE_DB):
        yield Finding(
            "good",
            "Errors hardly add up: its own frames lead it about as near to what really happened as "
            f"real ones would ({figure} further off).",
        )
    elif is_above(lost["low"], 0):
        yield Finding(
            "open",
            f"What it imagines from its own frames is further from what really happened than one "
            f"step from real ones, by {figure}: errors that add up, or chance that nobody can "
            "foretell.",
        )


def _counts(results: Mapping[str, Any]) -> Mapping[str, Any]:
    objects: Mapping[str, Any] = results["long_rollouts"]["objects"]
    return objects


def _steps(horizons: Sequence[int]) -> str:
    """``step 3``, ``steps 1 to 4``, ``steps 1 to 4 and 7``."""
    runs: list[list[int]] = []
    for h in horizons:
        if runs and h == runs[-1][-1] + 1:
            runs[-1].append(h)
        else:
            runs.append([h])
    parts = [str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs]
    shown = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"step{'s' if len(horizons) > 1 else ''} {shown}"
