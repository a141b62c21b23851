"""``nfd evaluate --measure outcomes``: are rewards and ends of episodes right?

Each is asked twice of the same held-out clips: with real frames to look at (teacher-forced: the
outcome model alone) and on imagined ones (free-running: what an agent in the world is told).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.clips import Clips
from benchmarks.dreaming import Outcomes, watch
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.hazard import count_ends, hazard_intervals
from benchmarks.held_out import HeldOut, open_held_out
from benchmarks.intervals import counted, mean_intervals
from benchmarks.plotting import has_matplotlib
from benchmarks.progress import counting
from benchmarks.results import closing_words
from benchmarks.reward_scores import score_returns, score_rewards
from world_model.world import World

NO_EYE = "the world has no outcome model that could look at real frames"
NO_MODEL = "the world has no outcome model: its rewards and ends come from its user"
NO_FRAMES = "after the end of an episode there are no real frames to look at"


def run(
    options: EvaluateOptions, console: Console, world: Any = None, held_out: HeldOut | None = None
) -> dict[str, Any]:
    """Measures outcomes, writes JSON and plots to ``options.out``, and returns the results.

    Args:
        options: what to measure.
        console: for progress and tables.
        world: a world object, instead of loading ``options.world``.
        held_out: world and clips, where another part has prepared them.

    Raises:
        NFDError: if the world or the data set are missing, or do not fit each other.
    """
    from benchmarks import outcomes_report

    started = time.perf_counter()
    held_out = held_out or open_held_out(options, console, world)
    world, clips, out = held_out.world, held_out.clips, held_out.out
    threshold = world_threshold(world)
    real = watch(world, clips)
    results: dict[str, Any] = {
        "threshold": threshold,
        "real_frames": {"why_not": NO_EYE} if real is None else score(real, clips, threshold),
        "by_steps": {},
    }
    for steps in held_out.steps:
        if isinstance(world, World) and world.outcome is None:
            results["by_steps"][str(steps)] = {"why_not": NO_MODEL}
            continue
        total = held_out.frames_to_dream(steps)
        with counting(console, f"{steps} sampling steps", total) as tell:
            dream = held_out.dream(steps, tell)
        results["by_steps"][str(steps)] = score(dream, clips, threshold, imagined=True)
    document = held_out.write("outcomes", results, started)
    results = document["results"]
    for steps in results["by_steps"]:
        title = f"{world.model_id}, {steps} sampling steps"
        for table in outcomes_report.tables(results, steps, title):
            console.print(table)
        if options.pictures and has_matplotlib(console):
            outcomes_report.plot(results, steps, out / f"outcomes-{steps}.png")
    console.print(closing_words(document, out))
    return document


def score(
    outcomes: Outcomes, clips: Clips, threshold: float, *, imagined: bool = False
) -> dict[str, Any]:
    """All figures of one source of outcomes.

    Args:
        outcomes: what the world said of the clips' steps.
        clips: what really happened.
        threshold: probability above which the world calls it the end.
        imagined: whether the outcomes go on where the real episode ended, as imagined ones do.

    Returns:
        ``reward`` (see :func:`benchmarks.reward_scores.score_rewards`; a reward counts where its
        frame exists) and ``termination`` (see :func:`score_ends`). Of imagined clips also
        ``return_until_the_end``: the reward of each step times the chance to have lived to see
        it, summed over the clip, against the real return.
    """
    known_rewards = np.where(clips.known, clips.rewards, np.nan)
    result = {
        "reward": score_rewards(outcomes.rewards, known_rewards, clips.episodes),
        "termination": score_ends(outcomes, clips, threshold, imagined=imagined),
    }
    if imagined:
        window = steps_known(clips)
        alive = chance_alive(outcomes.termination_probability)
        counts = np.arange(clips.horizon) < window[:, None]
        expected = (outcomes.rewards * alive * counts).sum(1)
        lived = np.nansum(np.where(counts, clips.rewards, np.nan), axis=1)
        result["return_until_the_end"] = score_returns(expected, lived, clips.episodes)
    return result


def score_ends(
    outcomes: Outcomes, clips: Clips, threshold: float, *, imagined: bool
) -> dict[str, Any]:
    """Whether episodes end as often, where, and when they should.

    Returns:
        What :func:`benchmarks.hazard.count_ends` says; ``scores`` (see
        :func:`benchmarks.hazard.hazard_intervals`), ``time`` (see :func:`score_times`) and the
        share still ``alive`` after every step, real and expected. What cannot be measured is None.
    """
    probability, ended, episodes = outcomes.termination_probability, clips.ended, clips.episodes
    return {
        **count_ends(probability, ended, episodes),
        "scores": hazard_intervals(probability, ended, episodes, threshold),
        "time": score_times(probability, clips) if imagined else {"why_not": NO_FRAMES},
        "alive": {
            "expected": _product_limit(np.where(np.isnan(ended), np.nan, probability)),
            "real": _product_limit(ended),
        },
    }


def score_times(probability: np.ndarray, clips: Clips) -> dict[str, Any]:
    """How many steps of its clip a player is expected to live, against how many there were.

    A clip that outlives its horizon, or is cut off, counts the steps that are known. After a real
    end the world goes on under the last action, and every step that it lives on is an error.

    Returns:
        ``mae`` and ``bias`` in steps (``mae_base``: with the base rate at every step) and the real
        mean.
    """
    window, n = steps_known(clips), len(clips)
    counts = np.arange(clips.horizon) < window[:, None]
    ended = np.nan_to_num(clips.ended)
    steps = (~np.isnan(clips.ended)).sum(1).astype(np.float64)
    rate = ended.sum() / max(1.0, steps.sum())
    expected = (chance_alive(probability) * counts).sum(1)
    base = (chance_alive(np.full_like(probability, rate)) * counts).sum(1)
    rows = {
        "mae": np.abs(expected - steps),
        "mae_base": np.abs(base - steps),
        "bias": expected - steps,
        "mean_real": steps,
    }
    return {
        name: counted(mean_intervals(values[:, None], clips.episodes)[0], n)
        for name, values in rows.items()
    }


def steps_known(clips: Clips) -> np.ndarray:
    """int64 (N,): the whole horizon where the episode ended in it, else the steps on record."""
    ended = (clips.ended == 1).any(1)
    return np.where(ended, clips.horizon, (~np.isnan(clips.ended)).sum(1))


def chance_alive(probability: np.ndarray) -> np.ndarray:
    """Chance to be alive *before* each step, float64 like ``probability`` (N, H)."""
    survived = np.cumprod(1.0 - probability.astype(np.float64), axis=1)
    return np.concatenate([np.ones((len(survived), 1)), survived[:, :-1]], axis=1)


def world_threshold(world: Any) -> float:
    """Probability above which the world calls it the end: as calibrated, else one half."""
    logit = getattr(getattr(world, "outcome", None), "termination_threshold", None)
    return 0.5 if logit is None else float(logit.sigmoid())


def _product_limit(hazard: np.ndarray) -> np.ndarray:
    """Share alive after each step (H,), of hazards (N, H) that are NaN once out of sight."""
    at_risk = (~np.isnan(hazard)).sum(0)
    rate = np.nansum(hazard, axis=0) / np.maximum(at_risk, 1)
    return np.where(at_risk > 0, np.cumprod(1 - rate), np.nan)
