"""Whether a world stays itself in one very long episode: memory, numbers, pictures, the same again.

Ends are switched off and random actions taken for thousands of steps, far beyond anything that
training has seen. Frames stay plausible if their statistics stay within the range of training
frames; a world that fades, freezes or boils leaves it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.by_length import by_length, steps_to_keep
from benchmarks.determinism import measure_determinism
from benchmarks.divergence import divergence_times
from benchmarks.endless import endless_env, numbers_are_finite
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.frame_statistics import (
    OUTER,
    STATISTICS,
    frame_statistics,
    frame_statistics_of,
    usual_range,
)
from benchmarks.frechet import FeatureSpace, spread_frames
from benchmarks.held_out import check_fit, find_out
from benchmarks.plotting import has_matplotlib
from benchmarks.progress import counting
from benchmarks.results import closing_words, describe_data, write_benchmark
from benchmarks.throughput import measure_throughput
from nfd_env.loading import load_rollout
from world_model.data import open_store_for
from world_model.data.locating import find_dataset
from world_model.errors import NFDError

CHECK_EVERY = 100
"""Steps between looks at the process's memory and the rollout's numbers."""
WARM_UP = 0.1
"""Share of the steps, at the start, in which memory may still grow."""


@dataclass
class Trace:
    """What was seen of one long episode."""

    statistics: np.ndarray
    """float32 (T, 3), see :data:`STATISTICS`."""
    memory_mb: list[float] = field(default_factory=list)
    """Resident memory of the process at every check."""
    bad_numbers: int = 0
    """Checks at which the state of the rollout held a NaN or an infinity."""
    shots: list[tuple[int, np.ndarray]] = field(default_factory=list)
    """Some frames by their step."""
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """float64 (T,), wall-clock time of each step."""
    frames: dict[int, np.ndarray] = field(default_factory=dict)
    """Frames that stand for the stretches of the episode, by their step."""


def run(options: EvaluateOptions, console: Console, world: Any = None) -> dict[str, Any]:
    """Plays the episodes, writes JSON, plots and strips, prints tables, returns the results.

    Raises:
        NFDError: if the world or the data set is missing, or its episodes cannot be endless.
    """
    from benchmarks.stability_report import length_table, plot, table, write_strip

    started = time.perf_counter()
    world = load_rollout(options.world if world is None else world, options.device)[0]
    if not getattr(world, "goes_on", True):
        raise NFDError(
            f"{world.model_id} ends its episodes by itself; stability needs an endless one. "
            "EnvWorld(..., endless=True) says of an environment that it goes on after an end; what "
            "has no starts of its own cannot."
        )
    config = world.config
    store = open_store_for(find_dataset(config, options.data), config.frame_shape, config.source)
    check_fit(store, world)
    out = find_out(options, world)
    usual = frame_statistics_of(store)
    range_of_training = usual_range(usual)
    real = spread_frames(store)
    outcome = getattr(world, "outcome", None)
    space = None if outcome is None else FeatureSpace.of(outcome, real)
    by_steps: dict[str, Any] = {}
    traces: dict[str, Trace] = {}
    for steps in options.steps or (int(config.sampling_steps),):
        title = f"one endless episode, {steps} sampling steps"
        settings = {"sampling_steps": steps, **options.imagination}
        with counting(console, title, options.stable_steps) as tell:
            trace = play_long(world, options.stable_steps, options.seed, tell, **settings)
        results = judge(trace, usual)
        results["by_length"] = by_length(
            trace.statistics, trace.seconds, trace.frames, range_of_training, real, space
        )
        # After the long episode, whose memory is watched: these make environments of their own.
        results["determinism"] = measure_determinism(world, options.seed, **settings)
        results["throughput"] = measure_throughput(world, options.seed, **settings)
        by_steps[str(steps)], traces[str(steps)] = results, trace
    document = write_benchmark(
        out / "stability.json",
        "stability",
        world=world.model_id,
        data=describe_data(store, "train"),
        settings={
            **options.figures(),
            "own_steps": int(config.sampling_steps),
            "policy": "random",
        },
        results={"by_steps": by_steps},
        seconds=time.perf_counter() - started,
    )
    can_plot = options.pictures and has_matplotlib(console)
    for name, results in document["results"]["by_steps"].items():
        console.print(table(results, f"{world.model_id}, {name} sampling steps"))
        console.print(length_table(results["by_length"]))
        if options.pictures:
            strip = out / f"stability-frames-{name}.png"
            write_strip(strip, traces[name], world=world.model_id)
        if can_plot:
            plot(traces[name], usual, out / f"stability-{name}.png")
    console.print(closing_words(document, out))
    return document


def play_long(world: Any, steps: int, seed: int, tell: Any = None, **settings: Any) -> Trace:
    """One endless episode under actions that are held for a random while."""
    env = endless_env(world, **settings)
    env.action_space.seed(seed)
    rng = np.random.default_rng(seed)
    frame, _ = env.reset(seed=seed)
    trace = Trace(np.zeros((steps, len(STATISTICS)), np.float32), seconds=np.zeros(steps))
    compared = {step: place for place, step in enumerate(sorted(steps_to_keep(steps)))}
    # Filled at once, and no view of it is made on the way, which would cut the heap into pieces:
    # what is kept must not look like memory that grows.
    kept = np.full((len(compared), *frame.shape), 255, np.uint8)
    wanted = {int(t) for t in np.unique(np.geomspace(1, steps, 16).round())}
    action = env.action_space.sample()
    try:
        for step in range(1, steps + 1):
            if rng.random() < 0.1:
                action = env.action_space.sample()
            before = frame
            started = time.perf_counter()
            frame, _, _, _, info = env.step(action)
            trace.seconds[step - 1] = time.perf_counter() - started
            if step in compared:
                kept[compared[step]] = frame
            trace.statistics[step - 1] = frame_statistics(before[None], frame[None])[0]
            if step in wanted:
                trace.shots.append((step, frame))
            if step % CHECK_EVERY == 0 or step == steps:
                trace.memory_mb.append(resident_mb())
                trace.bad_numbers += not numbers_are_finite(env, info)
                if tell is not None:
                    tell(min(CHECK_EVERY, steps))
    finally:
        env.close()
    trace.frames.update((step, kept[place]) for step, place in compared.items())
    return trace


def judge(trace: Trace, usual: np.ndarray) -> dict[str, Any]:
    """What the trace of a long episode says, beside the statistics of training frames (N, 3)."""
    low, high = usual_range(usual)
    smallest, largest = usual.min(0), usual.max(0)
    seen = trace.statistics
    within = (seen >= low) & (seen <= high)
    figures = {}
    for i, name in enumerate(STATISTICS):
        values = seen[:, i]
        tenth = max(1, len(values) // 10)
        figures[name] = {
            "training": [float(smallest[i]), float(low[i]), float(high[i]), float(largest[i])],
            "first_tenth_mean": float(values[:tenth].mean()),
            "last_tenth_mean": float(values[-tenth:].mean()),
            "share_in_usual_range": float(within[:, i].mean()),
            "share_in_full_range": float(((values >= smallest[i]) & (values <= largest[i])).mean()),
        }
    settled = trace.memory_mb[int(len(trace.memory_mb) * WARM_UP) :]
    return {
        "steps": len(seen),
        "bad_numbers": trace.bad_numbers,
        "frozen_share": float((seen[:, 2] == 0).mean()),
        "frames_per_second": float(1 / trace.seconds.mean()),
        "memory_mb": {
            "after_warm_up": settled[0] if settled else None,
            "end": settled[-1] if settled else None,
            "growth_per_1000_steps": growth(settled, CHECK_EVERY),
        },
        "statistics": figures,
        "divergence": divergence_times(within, STATISTICS),
        "usual_range": [OUTER, 1 - OUTER],
    }


def growth(memory_mb: list[float], every: int) -> float:
    """Slope of memory over steps, MB per 1000 steps.

    >>> round(growth([100.0, 101.0, 102.0], every=100), 6)
    10.0
    """
    if len(memory_mb) < 2:
        return 0.0
    steps = np.arange(len(memory_mb)) * every / 1000
    return float(np.polyfit(steps, memory_mb, 1)[0])


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:  # not Linux: the peak is all there is
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
