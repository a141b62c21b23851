"""``nfd evaluate``: how near a world's frames are to those of what it was learned from.

Held-out episodes are imagined again from a real context under the actions that were really taken,
and everything is held against simple baselines: the last frame repeated, the same model under
other actions, its own prediction blurred.
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from benchmarks.clips import Clips, clips_from_starts
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.fidelity_measures import find_classes, measure_all
from benchmarks.frechet import FeatureSpace, measure_frechet, spread_frames
from benchmarks.held_out import HeldOut, open_held_out
from benchmarks.learned_distances import load_networks, measure_learned
from benchmarks.plotting import has_matplotlib
from benchmarks.progress import counting
from benchmarks.results import closing_words
from benchmarks.teacher_forced import frames_to_force, measure_teacher_forced
from nfd_env.loading import resolve_device


def run(
    options: EvaluateOptions, console: Console, world: Any = None, held_out: HeldOut | None = None
) -> dict[str, Any]:
    """Measures fidelity, writes everything to ``options.out``, and returns the results.

    Args:
        options: what to measure.
        console: for progress and tables.
        world: a world object, instead of loading ``options.world``.
        held_out: world and clips, where another part has prepared them.

    Raises:
        NFDError: if the world or the data set are missing, or do not fit each other.
    """
    from benchmarks import fidelity_report, pictures, shown_clips

    started = time.perf_counter()
    held_out = held_out or open_held_out(options, console, world)
    world, store, clips = held_out.world, held_out.store, held_out.clips
    context = int(world.config.context_length)
    long_clips = clips_from_starts(
        store, options.split, options.rollouts, context, options.rollout_steps, options.seed
    )
    classes = find_classes(store, options.split, options.seed)
    networks = load_networks(
        options.lpips,
        options.fvd,
        frame_shape=store.frame_shape,
        horizon=options.horizon,
        device=resolve_device(options.device),
    )
    outcome = getattr(world, "outcome", None)
    space = None if outcome is None else FeatureSpace.of(outcome, spread_frames(store))
    by_steps: dict[str, Any] = {}
    out = held_out.out
    for steps in held_out.steps:
        rollout = held_out.rollout(steps)
        total = held_out.frames_to_dream(steps, shuffled=True) + _frames(options, clips, long_clips)
        total += frames_to_force(rollout, clips)
        with counting(console, f"{steps} sampling steps", total) as tell:
            dream, shuffled = held_out.dream(steps, tell), held_out.shuffled(steps, tell)
            results, long_frames = measure_all(
                rollout,
                clips,
                dream.frames,
                shuffled,
                long_clips,
                classes,
                samples=options.samples,
                sampled_clips=options.sampled_clips,
                seed=options.seed,
                batch=options.batch,
                on_frames=tell,
            )
            results["teacher_forced"] = measure_teacher_forced(
                rollout, clips, dream.frames, options.seed, batch=options.batch, on_frames=tell
            )
        forecasts = {"model": dream.frames, "shuffled_actions": shuffled}
        forecasts["repeat_last"] = clips.last_seen
        results["frechet"] = measure_frechet(space, clips, forecasts)
        results |= measure_learned(networks, clips, dream.frames, shuffled, options.batch)
        by_steps[str(steps)] = results
        if options.pictures:
            pictures.write_strip(
                out / f"clips-{steps}.png", clips, dream.frames, world=world.model_id
            )
            film, fps = out / f"rollout-{steps}.mp4", float(world.config.fps)
            pictures.write_comparison(film, long_clips, long_frames, fps, world=world.model_id)
            results["pictures"] = {
                "clips": shown_clips.write_clips(
                    out, str(steps), clips, dream.frames, fps, world=world.model_id
                ),
                "counterfactuals": shown_clips.write_counterfactuals(
                    out, str(steps), rollout, clips, world.action_spec, fps, options.seed,
                    options.batch, world=world.model_id,
                ),
            }  # fmt: skip
    document = held_out.write("fidelity", {"by_steps": by_steps}, started, **networks.weights)
    for steps, results in document["results"]["by_steps"].items():
        for table in fidelity_report.tables(results, f"{world.model_id}, {steps} sampling steps"):
            console.print(table)
        if options.pictures and has_matplotlib(console):
            fidelity_report.plot(results, out / f"fidelity-{steps}.png")
    console.print(closing_words(document, out))
    return document


def _frames(options: EvaluateOptions, clips: Clips, long_clips: Clips) -> int:
    sampled = min(options.sampled_clips, len(clips)) * options.samples if options.samples > 1 else 0
    return sampled * options.horizon + len(long_clips) * options.rollout_steps
