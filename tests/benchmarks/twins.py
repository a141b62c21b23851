"""Broken twins of the sliding game against every metric: what each fails, as a table.

``python -m tests.benchmarks.twins`` writes the table into docs/metrics.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import controllability, fidelity_measures, outcomes, probes, stability
from benchmarks.clips import Clips, cut_clips, remember_the_past
from benchmarks.counterfactual import RealFutures, measure_counterfactual, play_courses
from benchmarks.determinism import measure_determinism
from benchmarks.dreaming import imagine_shuffled, imagine_true, sample_futures, watch
from benchmarks.fidelity_measures import KnownClass, find_classes
from benchmarks.frame_statistics import frame_statistics_of
from benchmarks.frechet import FeatureSpace, measure_frechet, spread_frames
from benchmarks.inverse_dynamics import ActionReader, choices, score_reading, train_reader
from benchmarks.real_games import RealGames
from benchmarks.results import plain
from benchmarks.state_probe import StateProbe, find_quantities, train_probe
from benchmarks.teacher_forced import measure_teacher_forced
from tests.benchmarks.sliding import SPEC, SlidingWorld, make_dataset
from tests.benchmarks.sliding_game import SlidingGame
from world_model.data import open_store
from world_model.data.store import EpisodeStore

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- twins: begin -->", "<!-- twins: end -->"
HORIZON, CLIPS, LONG = 6, 100, 150
EXACT = 1e-5

TWINS: dict[str, SlidingWorld] = {
    "perfect": SlidingWorld(eye=True),
    "frozen frames": SlidingWorld("frozen", eye=True),
    "actions ignored": SlidingWorld("deaf", eye=True),
    "rewards a step late": SlidingWorld("shifted", eye=True),
    "never ends": SlidingWorld("endless", eye=True),
    "colours drift": SlidingWorld("drifting", eye=True),
    "one memorised future": SlidingWorld("memorised", eye=True),
    "coin decides": SlidingWorld("random", eye=True),
    "no ball": SlidingWorld("blind", eye=True),
    "overcautious": SlidingWorld(hazard=0.5, eye=True),
    "dice without a seed": SlidingWorld("unseeded", eye=True),
}


@dataclass(frozen=True)
class Metric:
    """A figure, and whether a world that has it is right in this respect."""

    part: str
    """Of ``nfd evaluate``."""
    place: str
    """Where it is in that part's figures, with ``/`` between the names; -1 is the last horizon."""
    passes: Callable[[Any], bool]
    """Of the figure found there."""
    rule: str
    """The same in words."""


def _zero(figure: Any) -> bool:
    return abs(figure["estimate"]) < EXACT


def _one(figure: Any) -> bool:
    return abs(figure["estimate"] - 1) < EXACT


def _positive(figure: Any) -> bool:
    return bool(figure["low"] > 0)


def _equal_frames(figure: Any) -> bool:
    return bool(figure["estimate"] > 58.8)


def _outcomes(source: str, words: str) -> dict[str, Metric]:
    places = {
        "reward: absolute error": ("reward/mae", _zero, "0"),
        "reward: correlation": ("reward/correlation", _one, "1"),
        "rare rewards: F1": ("reward/events/f1", _one, "1"),
        "return: error": ("reward/return/mae", _zero, "0"),
        "ends: expected / real": ("termination/ratio", _one, "1"),
        "ends: Brier score": ("termination/scores/brier", _zero, "0"),
        "ends: log loss": ("termination/scores/log_loss", _zero, "0"),
        "ends: calibration error": ("termination/scores/ece", _zero, "0"),
        "ends: F1": ("termination/scores/f1", _one, "1"),
        "ends: AUROC": ("termination/scores/auroc", _one, "1"),
    }
    return {
        f"{name}, {words}": Metric("outcomes", f"{source}/{place}", passes, rule)
        for name, (place, passes, rule) in places.items()
    }


METRICS: dict[str, Metric] = {
    "PSNR, first step": Metric("fidelity", "psnr/model/0", _equal_frames, "58.9 dB"),
    "PSNR, last step": Metric("fidelity", "psnr/model/-1", _equal_frames, "58.9 dB"),
    "PSNR of what changed": Metric(
        "fidelity", "psnr_changed/model/-1", _equal_frames, "58.9 dB at the last step"
    ),
    "gain over the last frame": Metric(
        "fidelity", "psnr_gain_over/repeat_last/-1", _positive, "interval above 0"
    ),
    "SSIM, last step": Metric("fidelity", "ssim/model/-1", _one, "1"),
    "one step from real frames: PSNR": Metric(
        "fidelity", "teacher_forced/psnr/one_step/-1", _equal_frames, "58.9 dB at the last step"
    ),
    "one step from real frames: SSIM": Metric(
        "fidelity", "teacher_forced/ssim/one_step/-1", _one, "1 at the last step"
    ),
    "PSNR lost to accumulated errors": Metric(
        "fidelity", "teacher_forced/accumulated/psnr/-1", _zero, "0 at the last step"
    ),
    "Frechet distance of frames": Metric(
        "fidelity", "frechet/distance/5-6/model", _zero, "0 at the last steps"
    ),
    "energy score": Metric("fidelity", "samples/energy_score/samples/-1", _zero, "0"),
    "ball: recall": Metric("fidelity", "small_things/ball/presence/model/recall/-1", _one, "1"),
    "ball: error inside": Metric("fidelity", "small_things/ball/rmse_inside/model/-1", _zero, "0"),
    **_outcomes("imagined", "imagined"),
    "return until the end: error": Metric(
        "outcomes", "imagined/return_until_the_end/mae", _zero, "0"
    ),
    "steps lived: error": Metric("outcomes", "imagined/termination/time/mae", _zero, "0"),
    **_outcomes("real_frames", "real frames"),
    "gain of true actions": Metric("controllability", "gain/-1", _positive, "interval above 0"),
    "inverse dynamics, of ceiling": Metric(
        "controllability",
        "inverse_dynamics/action/of_ceiling",
        lambda figure: figure["estimate"] > 0.9,
        "above 0.9",
    ),
    "divergence: share of actions": Metric(
        "controllability",
        "divergence/share/-1",
        lambda figure: figure["low"] is not None and figure["low"] > 0.5,
        "interval above 0.5",
    ),
    "counterfactual: effect, cosine": Metric(
        "controllability",
        "counterfactual/effect_cosine/-1",
        lambda figure: figure["estimate"] > 0.9,
        "above 0.9",
    ),
    "counterfactual: effect explained": Metric(
        "controllability",
        "counterfactual/effect_explained/-1",
        lambda figure: figure["estimate"] > 0.9,
        "above 0.9",
    ),
    "counterfactual: gain": Metric(
        "controllability", "counterfactual/gain/-1", _positive, "interval above 0"
    ),
    "counterfactual: PSNR of what changed": Metric(
        "controllability", "counterfactual/psnr_changed/model/-1", _equal_frames, "58.9 dB"
    ),
    "place read off frames: R2": Metric(
        "probes", "read/place/r2/model/-1", lambda figure: figure["estimate"] > 0.9, "above 0.9"
    ),
    "place: error saved over the last": Metric(
        "probes", "read/place/gain_over/repeat_last/-1", _positive, "interval above 0"
    ),
    "place: error saved over other actions": Metric(
        "probes", "read/place/gain_over/shuffled_actions/-1", _positive, "interval above 0"
    ),
    "frames equal to the last": Metric(
        "stability", "frozen_share", lambda share: share < 0.95, "below 95 %"
    ),
    "brightness in its usual range": Metric(
        "stability", "statistics/mean/share_in_full_range", lambda share: share > 0.95, "above 95 %"
    ),
    "step at which it diverges": Metric(
        "stability", "divergence/overall", lambda step: step is None, "none"
    ),
    "steps that are equal when played again": Metric(
        "stability", "determinism/again/equal_share", lambda share: share == 1, "all"
    ),
    "frames that are equal beside others": Metric(
        "stability", "determinism/beside_others/equal_frames", lambda share: share == 1, "all"
    ),
}


IMAGINED = {
    name: metric
    for name, metric in METRICS.items()
    if metric.part != "stability" and not metric.place.startswith(("real_frames/", "frechet/"))
}
"""Those that need neither an eye for real frames nor endless episodes."""
TEACHER_FORCED = {n for n, metric in METRICS.items() if metric.place.startswith("teacher_forced/")}
"""Those of worlds that can begin anywhere within a clip."""


@dataclass(frozen=True)
class Bench:
    """What all twins are measured with."""

    clips: Clips
    classes: Mapping[str, KnownClass]
    readers: list[ActionReader]
    store: EpisodeStore
    probes: list[StateProbe]
    ceilings: dict[str, Any]
    usual: np.ndarray
    real: RealFutures


def make_bench(folder: Path) -> Bench:
    """Records the game, cuts clips, and trains what reads frames."""
    store = open_store(make_dataset(folder))
    clips = cut_clips(store, "validation", CLIPS, 2, HORIZON, seed=0)
    some = clips.take(np.arange(0, len(clips), 5))
    _, courses = controllability.courses_of_action(some, SPEC, seed=0)
    known = find_quantities(store)[0]
    trained = [train_probe(store, known, steps=150, seed=i) for i in range(2)]
    return Bench(
        clips=remember_the_past(clips, store, TWINS["perfect"]),
        classes=find_classes(store, "validation", 0),
        readers=[train_reader(store, choices(SPEC), steps=150, seed=i) for i in range(2)],
        store=store,
        probes=trained,
        ceilings=probes.judge_probes(trained, store, "validation"),
        usual=frame_statistics_of(store),
        real=play_courses(RealGames(SlidingGame, SPEC), some, courses),
    )


def measure(bench: Bench, world: SlidingWorld) -> dict[str, Any]:
    """All figures of a twin, by part, as they would be in the JSON files."""
    rollout = world.make_rollout()
    figures = measure_imagined(bench, rollout)
    assert world.outcome is not None
    space: Any = FeatureSpace.of(world.outcome, spread_frames(bench.store))  # type: ignore[arg-type]
    forecasts = {"model": imagine_true(rollout, bench.clips, 0).frames}
    figures["fidelity"]["frechet"] = plain(measure_frechet(space, bench.clips, forecasts))
    seen = watch(world, bench.clips)
    assert seen is not None
    figures["outcomes"]["real_frames"] = plain(outcomes.score(seen, bench.clips, 0.5))
    trace = stability.play_long(world, LONG, seed=0)
    again = measure_determinism(world, seed=0)
    figures["stability"] = plain(stability.judge(trace, bench.usual) | {"determinism": again})
    return figures


def measure_imagined(bench: Bench, rollout: Any) -> dict[str, Any]:
    """The figures that can be had of anything that imagines clips, by part."""
    clips = bench.clips
    dream, shuffled = imagine_true(rollout, clips, 0), imagine_shuffled(rollout, clips, 0)
    frames = fidelity_measures.measure_frames(clips, dream.frames, shuffled)
    some = clips.take(np.arange(0, len(clips), 5))
    frames["samples"] = fidelity_measures.measure_samples(some, sample_futures(rollout, some, 3, 1))
    frames["teacher_forced"] = measure_teacher_forced(rollout, clips, dream.frames, 0)
    frames["small_things"] = fidelity_measures.measure_small_things(
        clips, dream.frames, bench.classes
    )
    names, courses = controllability.courses_of_action(some, SPEC, seed=0)
    imagined = controllability.imagine_courses(rollout, some, courses, 3, 64)
    return plain(
        {
            "fidelity": frames,
            "outcomes": {"imagined": outcomes.score(dream, clips, 0.5, imagined=True)},
            "controllability": {
                "gain": controllability.measure_gain(clips, dream.frames, shuffled),
                "inverse_dynamics": score_reading(bench.readers, clips, dream.frames, 0),
                "divergence": controllability.measure_divergence(
                    rollout, some, names, courses, seed=3, batch=64, futures=imagined
                ),
                "counterfactual": measure_counterfactual(
                    bench.real, some.take(bench.real.chosen), imagined[:, bench.real.chosen], names
                ),
            },
            "probes": probes.score_probes(
                bench.probes, bench.ceilings, bench.store, clips, dream.frames, shuffled
            ),
        }
    )


def failed(figures: Mapping[str, Any], metrics: Mapping[str, Metric] = METRICS) -> set[str]:
    """Names of the metrics that these figures fail."""
    return {name for name, metric in metrics.items() if not metric.passes(_find(figures, metric))}


def _find(figures: Mapping[str, Any], metric: Metric) -> Any:
    found: Any = figures[metric.part]
    for name in metric.place.split("/"):
        found = found[int(name)] if isinstance(found, list) else found[name]
    return found


def table(failures: Mapping[str, set[str]]) -> str:
    """Markdown: a row for each metric, a column for each twin."""
    lines = [
        "| metric | right is | " + " | ".join(failures) + " |",
        "|---|---|" + ":-:|" * len(failures),
    ]
    part = ""
    for name, metric in METRICS.items():
        if metric.part != part:
            part = metric.part
            lines.append(f"| **{part}** | |" + " |" * len(failures))
        marks = ("✗" if name in failures[twin] else "·" for twin in failures)
        lines.append(f"| {name} | {metric.rule} | " + " | ".join(marks) + " |")
    return "\n".join(lines)


def main() -> None:
    """Writes the table into the documentation."""
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder))
        failures = {name: failed(measure(bench, world)) for name, world in TWINS.items()}
    text = DOCS.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCS.write_text(f"{before}{BEGIN}\n{table(failures)}\n{END}{after}")


if __name__ == "__main__":
    main()
