"""``nfd evaluate --measure uncertainty``: does a world know when it is wrong?

Held-out clips are imagined under the actions that were really taken, and what the world says of its
uncertainty is held against how wrong its frames, rewards and ends are. Beside it: two signs that
cost nothing either, the number of steps imagined and the chance of the end.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.clips import Clips
from benchmarks.dreaming import Dream
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.held_out import HeldOut, open_held_out
from benchmarks.intervals import auroc_interval, counted, ratio_intervals
from benchmarks.outcomes import world_threshold
from benchmarks.plotting import has_matplotlib
from benchmarks.progress import counting
from benchmarks.results import closing_words

WORST = 0.1
"""Share of the steps whose frames are called wrong: those with the largest error."""
COVERAGES = tuple(round(0.1 * k, 1) for k in range(1, 11))
QUANTILES = (0.9, 0.95, 0.99, 0.995, 0.999)
RECOMMENDED = 0.99
"""Quantile of the uncertainty under real actions at which the recommended limit lies: of a hundred
steps of what people really do, one is cut off."""
SILENT = "the world gives no sign of uncertainty: it is the same at every step"


def run(
    options: EvaluateOptions, console: Console, world: Any = None, held_out: HeldOut | None = None
) -> dict[str, Any]:
    """Measures uncertainty, writes JSON and plots to ``options.out``, and returns the results.

    Args:
        options: what to measure.
        console: for progress and tables.
        world: a world object, instead of loading ``options.world``.
        held_out: world and clips, where another part has prepared them.

    Raises:
        NFDError: if the world or the data set are missing, or do not fit each other.
    """
    from benchmarks import uncertainty_report

    started = time.perf_counter()
    held_out = held_out or open_held_out(options, console, world)
    world, clips, out = held_out.world, held_out.clips, held_out.out
    by_steps: dict[str, Any] = {}
    for steps in held_out.steps:
        total = held_out.frames_to_dream(steps)
        with counting(console, f"{steps} sampling steps", total) as tell:
            dream = held_out.dream(steps, tell)
        results = score(dream, clips, world_threshold(world))
        if "why_not" not in results:
            results["cost"] = measure_cost(held_out.rollout(steps), clips, options.batch)
        by_steps[str(steps)] = results
    document = held_out.write("uncertainty", {"by_steps": by_steps}, started)
    for steps, results in document["results"]["by_steps"].items():
        title = f"{world.model_id}, {steps} sampling steps"
        for table in uncertainty_report.tables(results, title):
            console.print(table)
        if "why_not" not in results and options.pictures and has_matplotlib(console):
            uncertainty_report.plot(results, out / f"uncertainty-{steps}.png")
    console.print(closing_words(document, out))
    return document


def score(dream: Dream, clips: Clips, threshold: float) -> dict[str, Any]:
    """All figures of the uncertainty of a dream.

    Args:
        dream: the clips, imagined.
        clips: what really happened.
        threshold: probability above which the world calls it the end.

    Returns:
        ``frames`` and ``outcomes``: how well each sign tells steps that go wrong from the others
        (see :func:`telling`); ``risk_coverage`` (see :func:`risk_coverage`); ``limits`` (see
        :func:`limits`) and the ``recommended`` one. Where the uncertainty never changes:
        ``why_not``.
    """
    unsure = dream.uncertainty
    if np.ptp(unsure[clips.known]) == 0:
        return {"why_not": SILENT}
    error = frame_error(dream, clips)
    signs = {
        "uncertainty": unsure,
        "largest_so_far": np.maximum.accumulate(unsure, axis=1),
        "steps_imagined": np.broadcast_to(np.arange(1.0, clips.horizon + 1), unsure.shape),
        "chance_of_the_end": dream.termination_probability,
    }
    wrong = wrong_outcomes(dream, clips, threshold)
    found = limits(unsure, error, clips.episodes)
    return {
        "frames": {
            name: telling(sign, worst(error), clips.episodes, per_step=worst_of_each_step(error))
            for name, sign in signs.items()
        },
        "outcomes": {
            what: {name: telling(sign, bad, clips.episodes) for name, sign in signs.items()}
            for what, bad in wrong.items()
        },
        "risk_coverage": risk_coverage(unsure, error, clips.episodes),
        "limits": found,
        "recommended": next(row for row in found if row["quantile"] == RECOMMENDED)["limit"],
    }


def frame_error(dream: Dream, clips: Clips) -> np.ndarray:
    """Root mean square error of each frame in grey levels, float64 (N, H); NaN where unknown."""
    difference = dream.frames.astype(np.float32) - clips.frames
    error = np.sqrt(np.square(difference).mean(axis=(2, 3, 4), dtype=np.float64))
    return np.where(clips.known, error, np.nan)


def worst(error: np.ndarray) -> np.ndarray:
    """1 where an error is among the worst tenth of all, 0 elsewhere, NaN where unknown."""
    bad = (error > np.nanquantile(error, 1 - WORST)).astype(np.float64)
    return np.where(np.isnan(error), np.nan, bad)


def worst_of_each_step(error: np.ndarray) -> np.ndarray:
    """The same among those of equally many imagined steps, column by column."""
    columns = [
        worst(column) if not np.isnan(column).all() else np.full_like(column, np.nan)
        for column in error.T
    ]
    return np.stack(columns, axis=1)


def wrong_outcomes(dream: Dream, clips: Clips, threshold: float) -> dict[str, np.ndarray]:
    """1 where an outcome is wrong, 0 where it is right, NaN where the truth is unknown: (N, H).

    An ``end`` is wrong that was called and did not come, or the other way round. A ``reward`` is
    wrong that is nearer to another one that really occurs, or further off than half its size where
    all are alike.
    """
    called = dream.termination_probability > threshold
    end = np.where(np.isnan(clips.ended), np.nan, called != (clips.ended == 1))
    known = clips.known & ~np.isnan(clips.rewards)
    levels = np.unique(np.round(clips.rewards[known], 6))
    gap = np.diff(levels).min() if len(levels) > 1 else max(abs(float(levels[0])), 1e-6)
    off = np.abs(dream.rewards - np.nan_to_num(clips.rewards)) > gap / 2
    return {"end": end, "reward": np.where(known, off, np.nan)}


def telling(
    sign: np.ndarray, wrong: np.ndarray, episodes: np.ndarray, per_step: np.ndarray | None = None
) -> dict[str, Any]:
    """AUROC: the chance that the sign is larger at a step that goes wrong than at another one.

    Args:
        sign: float (N, H).
        wrong: float (N, H): 1, 0, or NaN where unknown.
        episodes: int (N,).
        per_step: the same of every step on its own, where that differs; None: no figures by step.

    Returns:
        ``overall``, over all steps; with ``per_step`` also ``by_step``, a list. An estimate is NaN
        where nothing, or everything, is wrong.
    """

    def one(sign: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
        interval = auroc_interval(sign, wrong, episodes)
        return {**counted(interval, int((~np.isnan(wrong)).sum())), "wrong": int(np.nansum(wrong))}

    result: dict[str, Any] = {"overall": one(sign, wrong)}
    if per_step is not None:
        columns = range(wrong.shape[1])
        result["by_step"] = [one(sign[:, h : h + 1], per_step[:, h : h + 1]) for h in columns]
    return result


def risk_coverage(
    unsure: np.ndarray, error: np.ndarray, episodes: np.ndarray
) -> list[dict[str, Any]]:
    """Mean error of the steps that are kept, where the least certain ones are left out.

    Returns:
        For each ``coverage``, the share kept: ``risk``, and that of an ``oracle`` who knows the
        errors; both in grey levels.
    """
    known = ~np.isnan(error)
    rows = []
    for coverage in COVERAGES:
        row: dict[str, Any] = {"coverage": coverage}
        for name, sign in (("risk", unsure), ("oracle", error)):
            kept = known & (sign <= np.quantile(sign[known], coverage, method="inverted_cdf"))
            row[name] = _mean_kept(kept, error, episodes)
        rows.append(row)
    return rows


def limits(unsure: np.ndarray, error: np.ndarray, episodes: np.ndarray) -> list[dict[str, Any]]:
    """What becomes of episodes under real actions that are cut off beyond a limit.

    Returns:
        For each ``quantile`` of the uncertainty: ``limit``, for ``max_uncertainty``;
        ``clips_cut``, the share of the clips that are cut off within their horizon;
        ``steps_kept``, the share of the steps before that; ``error``, mean of these, and
        ``error_after``, mean of the others, in grey levels.
    """
    known = ~np.isnan(error)
    rows = []
    for quantile in QUANTILES:
        limit = float(np.quantile(unsure[known], quantile))
        # The step that goes beyond the limit is the last one that is seen.
        over = (unsure > limit) & known
        beyond = np.cumsum(over, axis=1) - over > 0
        kept = known & ~beyond
        cut = over.any(1, keepdims=True).astype(np.float64)
        share = ratio_intervals(kept.sum(1, keepdims=True), known.sum(1, keepdims=True), episodes)
        rows.append(
            {
                "quantile": quantile,
                "limit": limit,
                "clips_cut": counted(
                    ratio_intervals(cut, np.ones_like(cut), episodes)[0], len(cut)
                ),
                "steps_kept": counted(share[0], int(known.sum())),
                "error": _mean_kept(kept, error, episodes),
                "error_after": _mean_kept(known & beyond, error, episodes),
            }
        )
    return rows


@torch.no_grad()
def measure_cost(rollout: Any, clips: Clips, batch: int, repeats: int = 15) -> dict[str, float]:
    """Seconds of a step, and of the sign in it, medians; the share is what the sign costs.

    The sign is a difference of two frames' tokens, squared and averaged.
    """
    part = clips.take(np.arange(min(batch, len(clips))))
    state = rollout.begin(part.context, torch.arange(len(part)))
    actions = torch.from_numpy(part.actions[:, 0].copy())
    whole, sign = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        state, outcome = rollout.advance(state, actions)
        tokens = outcome.latents
        float(outcome.uncertainty.sum())  # waits for the device
        between = time.perf_counter()
        float((tokens - tokens.flip(0)).square().mean(dim=(1, 2)).sqrt().sum())
        sign.append(time.perf_counter() - between)
        whole.append(between - began)
    step, own = float(np.median(whole)), float(np.median(sign))
    return {"streams": len(part), "step_seconds": step, "sign_seconds": own, "share": own / step}


def _mean_kept(kept: np.ndarray, error: np.ndarray, episodes: np.ndarray) -> dict[str, Any]:
    sums = np.where(kept, error, 0.0).sum(1, keepdims=True)
    interval = ratio_intervals(sums, kept.sum(1, keepdims=True), episodes)[0]
    return counted(interval, int(kept.sum()))
