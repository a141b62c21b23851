"""``nfd evaluate --measure controllability``: do actions do in the world what they really do?

Four answers that fail in different ways: whether the true actions explain the real frames better
than others do (gain), whether the action can be read off what is imagined (inverse dynamics),
whether other actions lead to other futures, more than other noise does (divergence), and whether
these are the futures that they have in the real game (counterfactual).
"""

from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.clips import Clips
from benchmarks.counterfactual import (
    REAL_CLIPS,
    RealFutures,
    find_games,
    measure_counterfactual,
    play_courses,
    write_pairs,
)
from benchmarks.dreaming import OnFrames, imagine, noise_seeds
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.fidelity_measures import frame_psnr
from benchmarks.held_out import HeldOut, open_held_out
from benchmarks.image_metrics import squared_error
from benchmarks.intervals import counted, mean_intervals, ratio_intervals
from benchmarks.inverse_dynamics import ActionReader, choices, score_reading, train_reader
from benchmarks.plotting import has_matplotlib
from benchmarks.progress import counting
from benchmarks.results import closing_words
from nfd_env.loading import resolve_device
from world_model.action_spec import ActionSpec
from world_model.errors import NFDError

FUTURES = 4
"""At most so many courses of action are compared."""
NO_CHOICES = "no part of the actions is a choice that could be read off frames"


def run(
    options: EvaluateOptions, console: Console, world: Any = None, held_out: HeldOut | None = None
) -> dict[str, Any]:
    """Measures controllability, writes JSON and plots to ``options.out``, returns the results.

    Args:
        options: what to measure.
        console: for progress and tables.
        world: a world object, instead of loading ``options.world``.
        held_out: world and clips, where another part has prepared them.

    Raises:
        NFDError: if the world or the data set are missing, or do not fit each other.
    """
    from benchmarks import controllability_report

    started = time.perf_counter()
    held_out = held_out or open_held_out(options, console, world)
    world, clips, out = held_out.world, held_out.clips, held_out.out
    parts = choices(world.action_spec)
    readers: list[ActionReader] = []
    if parts:
        total = options.reader_steps * options.networks
        with counting(console, f"{options.networks} readers of actions", total) as tell:
            readers = [
                train_reader(
                    held_out.store,
                    parts,
                    steps=options.reader_steps,
                    seed=options.seed + i,
                    device=resolve_device(options.device),
                    on_step=tell,
                )
                for i in range(options.networks)
            ]
    some = clips.take(
        np.linspace(0, len(clips) - 1, min(options.sampled_clips, len(clips))).astype(int)
    )
    names, courses = courses_of_action(some, world.action_spec, options.seed)
    real, why_not = play_really(world, some, courses, console, options.real_env)
    by_steps: dict[str, Any] = {}
    for steps in held_out.steps:
        total = (
            held_out.frames_to_dream(steps, shuffled=True) + (len(courses) + 1) * some.ended.size
        )
        with counting(console, f"{steps} sampling steps", total) as tell:
            dream, shuffled = held_out.dream(steps, tell), held_out.shuffled(steps, tell)
            rollout, noise = held_out.rollout(steps), options.seed + 3
            futures = imagine_courses(rollout, some, courses, noise, options.batch, tell)
            by_steps[str(steps)] = {
                "gain": measure_gain(clips, dream.frames, shuffled),
                "inverse_dynamics": (
                    score_reading(readers, clips, dream.frames, options.seed)
                    if readers
                    else {"why_not": NO_CHOICES}
                ),
                "divergence": measure_divergence(
                    rollout,
                    some,
                    names,
                    courses,
                    seed=noise,
                    batch=options.batch,
                    on_frames=tell,
                    futures=futures,
                ),
                "counterfactual": {"why_not": why_not},
            }
        if real is not None:
            same, imagined = some.take(real.chosen), futures[:, real.chosen]
            by_steps[str(steps)]["counterfactual"] = measure_counterfactual(
                real, same, imagined, names
            )
            if options.pictures:
                picture = out / f"controllability-{steps}-counterfactual.png"
                write_pairs(picture, real, same, imagined, names)
    document = held_out.write(
        "controllability", {"by_steps": by_steps}, started, diverging_clips=len(some)
    )
    for steps, results in document["results"]["by_steps"].items():
        title = f"{world.model_id}, {steps} sampling steps"
        for table in controllability_report.tables(results, title):
            console.print(table)
        if options.pictures and has_matplotlib(console):
            controllability_report.plot(results, out / f"controllability-{steps}.png")
    console.print(closing_words(document, out))
    return document


def measure_gain(clips: Clips, imagined: np.ndarray, shuffled: np.ndarray) -> list[dict[str, Any]]:
    """Decibels by which the true actions explain the real frames better than others, by horizon."""
    gain = frame_psnr(clips, imagined) - frame_psnr(clips, shuffled)
    intervals = mean_intervals(gain, clips.episodes)
    return [counted(i, n) for i, n in zip(intervals, clips.known.sum(0), strict=True)]


def courses_of_action(
    clips: Clips, spec: ActionSpec, seed: int
) -> tuple[list[str], list[np.ndarray]]:
    """Different things to do in every clip, and names for them: float32 (N, H, K) each.

    In a Discrete space each holds one action all along (at most :data:`FUTURES` of them, drawn by
    ``seed``); in others they are what was really done, and what was done in other clips.
    """
    parts = choices(spec)
    if len(parts) == 1 and spec.dim == 1:
        count = len(parts[0].labels)
        drawn = np.random.default_rng(seed).choice(count, min(FUTURES, count), replace=False)
        held = sorted(drawn.tolist())
        names = [parts[0].labels[action] for action in held]
        return names, [np.full_like(clips.actions, action) for action in held]
    lenders = [np.roll(np.arange(len(clips)), -i * len(clips) // FUTURES) for i in range(FUTURES)]
    names = ["own actions", *(f"those of clip + {i}/{FUTURES}" for i in range(1, FUTURES))]
    return names, [clips.actions[lender] for lender in lenders]


def play_really(
    world: Any,
    clips: Clips,
    courses: list[np.ndarray],
    console: Console,
    real_env: str | None = None,
) -> tuple[RealFutures | None, str]:
    """What the courses lead to in the real game, or None and why nobody can tell."""
    if len(courses) < 2:
        return None, "there is but one thing to do"
    try:
        games = find_games(world, real_env)
        total = min(len(clips), REAL_CLIPS) * clips.horizon * len(courses)
        try:
            with counting(console, "the real game under other actions", total) as tell:
                return play_courses(games, clips, courses, tell), ""
        finally:
            games.close()
    except NFDError as error:
        console.print(f"counterfactuals were not measured: {error}", style="red", markup=False)
        return None, str(error)


def imagine_courses(
    rollout: Any,
    clips: Clips,
    courses: list[np.ndarray],
    seed: int,
    batch: int,
    on_frames: OnFrames | None = None,
) -> np.ndarray:
    """The clips under each course of action, by equal noise: uint8 (A, N, H, h, w, 3)."""
    noise = noise_seeds(2 * len(clips), seed)[: len(clips)]
    return np.stack(
        [
            imagine(rollout, clips, noise, actions=actions, batch=batch, on_frames=on_frames).frames
            for actions in courses
        ]
    )


def measure_divergence(
    rollout: Any,
    clips: Clips,
    names: list[str],
    courses: list[np.ndarray],
    *,
    seed: int,
    batch: int,
    on_frames: OnFrames | None = None,
    futures: np.ndarray | None = None,
) -> dict[str, Any]:
    """How far futures of the same context part: by other actions, and by other noise.

    Args:
        rollout: what imagines.
        clips: the contexts.
        names: of the courses of action.
        courses: float32 (N, H, K) each, see :func:`courses_of_action`.
        seed: of the noise; every context has two, and the second one is tried with one course.
        batch: streams at a time.
        on_frames: told of every frame.
        futures: what :func:`imagine_courses` made of the same, where somebody needed it before.

    Returns:
        Root mean square distances in grey levels by horizon, ``by_actions`` (equal noise) and
        ``by_noise`` (equal actions); the ``share`` of the first in the sum of both, 0 where
        actions do nothing, 1/2 where they do no more than noise, 1 where nothing is left to it
        (None where nothing parts at all); and ``pairs`` of courses at the last horizon.
    """
    other_noise = noise_seeds(2 * len(clips), seed)[len(clips) :]
    if futures is None:
        futures = imagine_courses(rollout, clips, courses, seed, batch, on_frames)
    # The courses take turns: as many clips try each with other noise.
    turn = np.arange(len(clips)) % len(courses)
    own = np.stack(courses)[turn, np.arange(len(clips))]
    again = imagine(rollout, clips, other_noise, actions=own, batch=batch, on_frames=on_frames)
    first = futures[turn, np.arange(len(clips))]

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(squared_error(a, b))  # (N, H)

    pairs = {
        f"{names[i]} | {names[j]}": distance(futures[i], futures[j])
        for i, j in combinations(range(len(courses)), 2)
    }
    zero = np.zeros(clips.ended.shape)
    by_actions = np.mean(list(pairs.values()), axis=0) if pairs else zero
    by_noise = distance(first, again.frames)
    n, episodes = len(clips), clips.episodes

    def curve(values: np.ndarray) -> list[dict[str, Any]]:
        return [counted(interval, n) for interval in mean_intervals(values, episodes)]

    share = ratio_intervals(by_actions, by_actions + by_noise, episodes)
    return {
        "clips": n,
        "courses": names,
        "by_actions": curve(by_actions),
        "by_noise": curve(by_noise),
        "share": [counted(interval, n) for interval in share],
        "pairs": {name: curve(values[:, -1:])[0] for name, values in pairs.items()},
    }
