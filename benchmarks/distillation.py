"""What distillation keeps and what it saves: worlds and their teachers, by sampling steps.

    python -m benchmarks.distillation --worlds doom-take-cover runs/distill-scm/world

One row for every network and number of steps: likeness to held-out episodes (whole frames, what
changed, Frechet distance), whether the outcome model still knows what happens, whether policies are
ranked as in the real game, and the time a step takes.

A teacher is watched by its student's outcome model, which was adapted to the student's frames: what
is said of ends of episodes and of the ranking favours the student a little.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console

from agents.arena import EVALUATION_SEED, find_policies
from agents.evaluation import Evaluation
from agents.statistics import rank_agreement, rank_agreement_difference
from benchmarks.clips import Clips, cut_clips, remember_the_past
from benchmarks.distillation_report import describe, plot, table
from benchmarks.dreaming import imagine, noise_seeds
from benchmarks.fidelity_measures import measure_frames
from benchmarks.frechet import FeatureSpace, frechet_distance, horizon_groups, spread_frames
from benchmarks.hazard import score_hazard
from benchmarks.held_out import check_fit
from benchmarks.plotting import has_matplotlib
from benchmarks.policy_ranking import STREAMS, play_real
from benchmarks.ranking_episodes import play_all
from benchmarks.results import closing_words, describe_data, plain, write_benchmark
from world_model.data import open_store_for
from world_model.data.locating import find_dataset
from world_model.errors import NFDError
from world_model.rollout import Rollout
from world_model.world import World

GROUPS = tuple(horizon_groups(16))
"""Horizons that frames are pooled over for the Frechet distance."""
RESULTS = "distillation.json"
"""File that holds the rows."""
_FREE = ("worlds", "data", "out", "only", "join", "device", "streams", "timed", "pictures",
         "student_steps", "teacher_steps", "ranked_steps")  # fmt: skip
"""Options that do not change what is measured in a row."""
TIMED_STEPS = 60
"""Steps of one stream that are timed, after a third as many to warm up."""


@dataclass(frozen=True)
class DistillationOptions:
    """Compares distilled worlds with their teachers."""

    worlds: tuple[str, ...] = ("doom-take-cover",)
    """Names or folders; the teacher of the first is measured too, where it is kept."""
    data: Path | None = None
    """Folder of the data set that they were learned from (default: data/NAME, by the name of the
    first world, of its recordings or of their preset)."""
    out: Path = Path("runs/distillation")
    """Folder for table, plot and JSON."""
    student_steps: tuple[int, ...] = (1, 2, 4)
    """Sampling steps of few-step networks."""
    teacher_steps: tuple[int, ...] = (1, 2, 4, 8, 18)
    """Sampling steps of the many-step network."""
    only: tuple[str, ...] = ()
    """Measures these networks alone, by their names in the table (default: all)."""
    join: tuple[Path, ...] = ()
    """Folders of earlier runs with the same settings, whose rows are taken over."""
    clips: int = 128
    """Held-out clips of 16 steps."""
    episodes: int = 0
    """Episodes of each policy, real and imagined; 0 leaves the ranking out."""
    ranked_steps: tuple[int, ...] = ()
    """Numbers of steps whose rows are ranked (default: all)."""
    policies: tuple[str, ...] = ("baselines", "sweep-15", "sweep-30", "right")
    """Which policies are ranked."""
    seed: int = 0
    """Of clips and noise."""
    device: str = "cpu"
    """Where to imagine."""
    streams: int = STREAMS
    """Episodes side by side in the ranking."""
    timed: bool = True
    """Also time a step; not beside other work."""
    pictures: bool = True
    """Also leave a plot."""


@dataclass(frozen=True)
class Contender:
    """A network to measure, and how often it is asked per frame."""

    name: str
    """World, or ``teacher``."""
    world: World
    """With the network in place."""
    steps: tuple[int, ...]
    """Numbers of sampling steps."""


def label_of(name: str) -> str:
    """What a world given by name or folder is called in the table."""
    path = Path(name)
    return path.parent.name if path.name == "world" else path.name


def contenders(options: DistillationOptions) -> list[Contender]:
    """The worlds, few-step or not, and the teacher of the first.

    Raises:
        NFDError: if a world is missing or damaged.
    """
    worlds = [World.from_pretrained(name) for name in options.worlds]
    found: list[Contender] = []
    for name, world in zip(options.worlds, worlds, strict=True):
        many = not world.flow.makes_samples
        label = label_of(name)
        steps = options.teacher_steps if many else options.student_steps
        taken = {"teacher", *(contender.name for contender in found)}
        while label in taken or not label:
            label += "'"
        found.append(Contender(label, world, steps))
    if worlds[0].teacher is not None:
        found.append(Contender("teacher", worlds[0].many_step(), options.teacher_steps))
    return found


def run(options: DistillationOptions, console: Console) -> dict[str, Any]:
    """Measures every row, prints the table, writes ``distillation.json`` and a plot.

    Raises:
        NFDError: if a world, the data set or (for the ranking) the real game is missing.
    """
    started = time.perf_counter()
    if not options.worlds:
        raise NFDError("--worlds names nothing to measure.")
    measured = contenders(options)
    first = measured[0].world
    unknown = set(options.only) - {contender.name for contender in measured}
    if unknown:
        raise NFDError(
            f"--only names {', '.join(sorted(unknown))}, but there are "
            f"{', '.join(contender.name for contender in measured)}."
        )
    shape, source = first.config.frame_shape, first.config.source
    store = open_store_for(find_dataset(first.config, options.data), shape, source)
    for contender in measured:
        check_fit(store, contender.world)
    horizon = GROUPS[-1][1]
    clips = cut_clips(
        store, "validation", options.clips, first.config.context_length, horizon, options.seed
    )
    space = None
    if first.outcome is not None:
        space = FeatureSpace.of(first.outcome, spread_frames(store))
    real: list[Evaluation] = []
    if options.episodes:
        policies = find_policies(options.policies, first.action_spec)
        real = play_real(
            policies, first, options.episodes, options.out / "real-returns.json", console
        )
    settings = {k: v for k, v in asdict(options).items() if k not in _FREE}
    data = describe_data(store, "validation")

    def write(found: list[dict[str, Any]], against: dict[str, Any]) -> dict[str, Any]:
        return write_benchmark(
            options.out / RESULTS,
            "distillation",
            world=first.model_id,
            data=data,
            settings=settings,
            results={"rows": found, "ranking_against_teacher": against},
            seconds=time.perf_counter() - started,
        )

    known = _earlier_rows(options, first, settings, data)
    rows: list[dict[str, Any]] = []
    for contender, steps in _all_rows(measured):
        row = known.pop((contender.name, contender.world.model_id, steps), None)
        if row is None and options.only and contender.name not in options.only:
            continue
        if row is None:
            remembered = remember_the_past(clips, store, contender.world)
            row = measure(contender, steps, remembered, space, options)
        ranked = not options.ranked_steps or steps in options.ranked_steps
        if real and ranked and "spearman" not in row:
            played = _play(contender, steps, options)
            row["returns"] = {e.policy: [float(r) for r in e.returns] for e in played}
            row["spearman"] = rank_agreement(
                [e.returns for e in real], [e.returns for e in played]
            ).to_dict()
        if options.timed and row["milliseconds"] is None:
            row["milliseconds"] = time_a_step(contender, steps, clips, options.device)
        rows.append(row)
        console.print(describe(row))
        # Written after every row: an interrupted run keeps what it has, and what it knew.
        write([*rows, *known.values()], {})
    if not rows:
        raise NFDError("there is nothing to measure: give numbers of sampling steps.")
    document = write([*rows, *known.values()], against_teacher(real, rows))
    console.print(table(rows))
    if options.pictures and has_matplotlib(console):
        plot(rows, options.out / "distillation.png", f"{GROUPS[-1][0]}-{GROUPS[-1][1]}")
    console.print(closing_words(document, options.out))
    return document


def _earlier_rows(
    options: DistillationOptions, first: World, settings: dict[str, Any], data: dict[str, Any]
) -> dict[tuple[str, str | None, int], dict[str, Any]]:
    """Rows of this run, if it was interrupted, and of those to join, by network and steps.

    Raises:
        NFDError: if there is nothing in a folder to join, or it was measured otherwise.
    """
    known: dict[tuple[str, str | None, int], dict[str, Any]] = {}
    for folder in (*options.join, options.out):
        path = folder / RESULTS
        try:
            document = json.loads(path.read_text())
            theirs, rows = document["settings"], document["results"]["rows"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if folder in options.join:
                raise NFDError(f"{path} holds no rows to join ({error}).") from error
            continue
        differing = sorted(name for name in settings if theirs.get(name) != plain(settings[name]))
        if document.get("data") != plain(data):
            differing.append("data")
        if document.get("world") != first.model_id:  # its outcome model is what sees and judges
            differing.append("first world")
        if differing:
            if folder in options.join:
                raise NFDError(
                    f"{folder} was measured with other {', '.join(differing)}: its rows cannot "
                    "stand beside the others."
                )
            continue
        if folder != options.out:  # a time of another machine cannot stand beside ours
            rows = [{**row, "milliseconds": None} for row in rows]
        known |= {(row["network"], row.get("world"), row["steps"]): row for row in rows}
    return known


def _all_rows(measured: list[Contender]) -> Iterator[tuple[Contender, int]]:
    for contender in measured:
        for steps in contender.steps:
            yield contender, steps


def measure(
    contender: Contender,
    steps: int,
    clips: Clips,
    space: FeatureSpace | None,
    options: DistillationOptions,
) -> dict[str, Any]:
    """One row, but for the ranking."""
    world = contender.world
    rollout = Rollout(
        world, sampling_steps=steps, termination_mode="never", device=options.device
    )  # fmt: skip
    dream = imagine(rollout, clips, noise_seeds(len(clips), options.seed))
    frames = measure_frames(clips, dream.frames, dream.frames)
    row: dict[str, Any] = {
        "network": contender.name,
        "world": world.model_id,
        "loss": world.flow.loss,
        "steps": steps,
        "parameters": sum(p.numel() for p in world.network.parameters()),
        "psnr": [interval.to_dict() for interval in frames["psnr_pooled"]["model"]],
        "psnr_changed": [interval.to_dict() for interval in frames["psnr_changed"]["model"]],
        "milliseconds": None,
    }
    if space is not None:
        distances = {}
        for low, high in GROUPS:
            part = slice(low - 1, high)
            known = clips.known[:, part]
            points = [space.project(x[:, part][known]) for x in (clips.frames, dream.frames)]
            distances[f"{low}-{high}"] = frechet_distance(*points)
        row["frechet"] = distances
        row["hazard"] = score_hazard(dream.termination_probability, clips.ended, clips.episodes)
    return row


def time_a_step(contender: Contender, steps: int, clips: Clips, device: str) -> float:
    """Median milliseconds of a step of one stream."""
    rollout = Rollout(contender.world, sampling_steps=steps, device=device)
    one = clips.take(np.array([0]))
    state = rollout.begin(one.context, torch.tensor([0]))
    action, times = torch.from_numpy(one.actions[:, 0].copy()), []
    for _ in range(TIMED_STEPS // 3 + TIMED_STEPS):
        started = time.perf_counter()
        state, outcome = rollout.advance(state, action)
        outcome.frames.cpu()
        times.append(time.perf_counter() - started)
    return float(1e3 * np.median(times[TIMED_STEPS // 3 :]))


def _play(contender: Contender, steps: int, options: DistillationOptions) -> list[Evaluation]:
    return play_all(
        find_policies(options.policies, contender.world.action_spec),
        contender.world,
        range(EVALUATION_SEED, EVALUATION_SEED + options.episodes),
        streams=options.streams,
        device=options.device,
        sampling_steps=steps,
    )


def against_teacher(real: list[Evaluation], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Spearman of each student minus that of the teacher with the most steps, with intervals."""
    names = [e.policy for e in real]
    returns = {
        (row["network"], row["steps"]): [np.array(row["returns"][name]) for name in names]
        for row in rows
        if real and "returns" in row
    }
    taught = [steps for name, steps in returns if name == "teacher"]
    if not taught:
        return {}
    teacher = returns["teacher", max(taught)]
    return {
        f"{name}, {steps} steps": rank_agreement_difference(
            [e.returns for e in real], side, teacher
        ).to_dict()
        for (name, steps), side in returns.items()
        if name != "teacher"
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m benchmarks.distillation``."""
    run(tyro.cli(DistillationOptions, args=argv), Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
