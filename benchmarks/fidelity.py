"""``nfd evaluate``: how faithful a world is to what it was learned from.

Held-out episodes are imagined again from a real context under the actions that were really taken,
and everything is held against simple baselines: the last frame repeated, the same model under
other actions, its own prediction blurred.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from benchmarks.clips import Clips, clips_from_starts
from benchmarks.fidelity_measures import find_classes, measure_all
from benchmarks.frechet import FeatureSpace, measure_frechet, spread_frames
from benchmarks.held_out import HeldOut, find_out, open_held_out
from benchmarks.learned_distances import load_networks, measure_learned
from benchmarks.opening import open_world
from benchmarks.plotting import has_matplotlib
from benchmarks.progress import counting
from benchmarks.results import closing_words
from benchmarks.teacher_forced import frames_to_force, measure_teacher_forced
from benchmarks.training_budget import TrainingBudget
from nfd_env.loading import resolve_device
from world_model.errors import ConfigError, NFDError

Part = Literal[
    "fidelity",
    "outcomes",
    "controllability",
    "probes",
    "uncertainty",
    "ranking",
    "lift",
    "exploitation",
    "stability",
]
TIERS: dict[str, tuple[Part, ...]] = {
    "a": ("fidelity", "outcomes", "controllability", "probes", "uncertainty", "stability"),
    "b": ("ranking", "lift", "exploitation"),
}
"""What belongs together: how a world looks and behaves, and what it is worth for decisions."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Measures how faithful a world is, on episodes that it was not trained on."""

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world, or module:function that makes one. perfect:WORLD is the
    real game that it was learned from, teacher:WORLD the network that it was distilled from."""
    data: Path | None = None
    """Folder of the data set that the world was learned from (default: data/NAME, by the name of
    the world, of its recordings or of their preset)."""
    measure: tuple[Part, ...] = ("fidelity", "outcomes")
    """What to measure: frames (fidelity), rewards and ends (outcomes), whether actions do what they
    should (controllability), whether frames show what was true (probes), whether the world knows
    when it is wrong (uncertainty), policies in the real and the imagined game (ranking), what
    training in it is worth in the real game (lift), whether agents exploit its mistakes
    (exploitation), one very long episode (stability)."""
    tier: Literal["a", "b", "all"] | None = None
    """Instead of --measure. a: fidelity, outcomes, controllability, probes, uncertainty, stability;
    b, what it is worth for decisions: ranking, lift, exploitation; all: both."""
    steps: tuple[int, ...] = ()
    """Numbers of sampling steps to measure (default: the world's own)."""
    sampler: str | None = None
    """Sampler (default: the world's own)."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the transformer's matrix products; auto is the faster of the two on this hardware."""
    real_env: str | None = None
    """The real environment, for counterfactuals, perfect:WORLD, ranking, lift and exploitation: a
    recipe, module:function, or the folder of a data set recorded in it (default: what the world was
    learned from)."""
    out: Path | None = None
    """Folder for JSON, plots and films (default: runs/evaluate-NAME)."""
    split: str = "validation"
    """Split to measure on; anything but validation flatters the world."""
    clips: int = 128
    """Clips to imagine."""
    horizon: int = 16
    """Steps to imagine of each clip."""
    samples: int = 8
    """Futures of the same clip, for the best of them and the energy score; 1 leaves that out."""
    sampled_clips: int = 32
    """Clips with so many futures; also those whose futures under different actions are compared."""
    reader_steps: int = 300
    """Controllability: training steps, of 128 pairs of frames, of each network that reads actions
    off frames."""
    probe_steps: int = 1_000
    """Probes: training steps, of 128 pairs of frames, of each network that reads the game's state
    off frames; minutes on a CPU."""
    networks: int = 3
    """Controllability and probes: how many networks of each kind learn to read, from seeds of their
    own; what they read counts together."""
    lpips: Path | None = None
    """Fidelity: weights of LPIPS' network, a safetensors file
    (world_model/autoencoder/perceptual.py says how to make it); minutes on a CPU."""
    fvd: Path | None = None
    """Fidelity: weights of I3D, for the Frechet video distance, a safetensors file
    (benchmarks/i3d.py says how to make it); some seconds for each clip on a CPU."""
    rollouts: int = 32
    """Long rollouts, from the start of an episode, in which objects are counted."""
    rollout_steps: int = 64
    """Steps of each of them."""
    batch: int = 32
    """Streams at a time."""
    seed: int = 0
    """Of the choice of clips, and of the noise."""
    device: str = "auto"
    """auto, cpu or cuda."""
    pictures: bool = True
    """Also leave plots, strips of frames and films."""
    policies: tuple[str, ...] = ("graded",)
    """Ranking, lift and exploitation: which policies play; `baselines` are noop, left, uniform and
    four sweeps, `graded` also two that hold an action for long, two more sweeps, and in
    Breakout, Crafter and Defend the Center four that look (follow, forage, aim)."""
    episodes: int = 20
    """Ranking: episodes of each policy, in the real and in the imagined game."""
    agents: tuple[str, ...] = ()
    """Lift and exploitation: folders of trained policies, as one group of agents. Lift then trains
    none in imagination; exploitation none at all with --training.steps 0."""
    training: TrainingBudget = field(default_factory=TrainingBudget)
    """Lift and exploitation: how long agents train and play."""
    stable_steps: int = 4_000
    """Stability: steps of the long episode."""
    compare: tuple[str, ...] = ()
    """Measure nothing; put these evaluations side by side: folders of results, or worlds."""
    card: bool = False
    """Measure nothing; write what was measured into the card of the world."""
    report: bool = False
    """Measure nothing; write report.html anew from the results in the folder."""

    def __post_init__(self) -> None:
        if self.networks < 1:
            raise ConfigError(f"--networks {self.networks}: at least one has to learn to read.")

    @property
    def imagination(self) -> dict[str, Any]:
        """Settings of what imagines the world; None where it is left to that."""
        precision = None if self.precision == "float32" else self.precision
        return {"device": self.device, "sampler": self.sampler, "precision": precision}

    def figures(self) -> dict[str, Any]:
        """The options that decide the figures: all but paths, which say nothing elsewhere."""
        others = ("world", "data", "out", "compare", "card", "report", "lpips", "fvd", "tier")
        return {k: v for k, v in asdict(self).items() if k not in others}


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


def main(argv: list[str]) -> int:
    """Entry point of ``nfd evaluate``."""
    options = tyro.cli(EvaluateOptions, args=argv, prog="nfd evaluate")
    console = Console()
    if options.compare:
        from benchmarks.comparison_page import run as run_comparison

        return run_comparison(options, console)
    if options.card:
        from benchmarks.card import run as run_card

        return run_card(options, console)
    if options.report:
        from benchmarks.evaluation_folder import find_evaluation
        from benchmarks.report import write_report

        folder = options.out or find_evaluation(options.world).path
        console.print(f"the report is {write_report(folder)}")
        return 0
    if options.tier:
        parts = [p for name, tier in TIERS.items() if options.tier in (name, "all") for p in tier]
        options = replace(options, measure=tuple(parts))
    if not options.measure:
        raise NFDError("--measure names nothing to measure.")
    return measure(options, console)


def measure(options: EvaluateOptions, console: Console) -> int:
    """Measures all that is asked for and writes the page; 1 where a part could not be measured.

    Raises:
        NFDError: if nothing could be measured.
    """
    from benchmarks.controllability import run as run_controllability
    from benchmarks.exploitation import run as run_exploitation
    from benchmarks.lift import run as run_lift
    from benchmarks.outcomes import run as run_outcomes
    from benchmarks.policy_ranking import run as run_ranking
    from benchmarks.probes import run as run_probes
    from benchmarks.report import write_report
    from benchmarks.stability import run as run_stability
    from benchmarks.uncertainty import run as run_uncertainty

    world = open_world(options.world, options.device, options.real_env)

    @cache
    def held_out() -> HeldOut:
        """The clips that several parts look at, made where the first of them asks."""
        return open_held_out(options, console, world)

    runs: dict[str, Callable[[], Any]] = {
        "fidelity": lambda: run(options, console, held_out=held_out()),
        "outcomes": lambda: run_outcomes(options, console, held_out=held_out()),
        "controllability": lambda: run_controllability(options, console, held_out=held_out()),
        "probes": lambda: run_probes(options, console, held_out=held_out()),
        "uncertainty": lambda: run_uncertainty(options, console, held_out=held_out()),
        "ranking": lambda: run_ranking(options, console, world),
        "lift": lambda: run_lift(options, console, world),
        "exploitation": lambda: run_exploitation(options, console, world),
        "stability": lambda: run_stability(options, console, world),
    }
    reasons: dict[str, str] = {}
    errors: list[NFDError] = []
    asked = list(dict.fromkeys(options.measure))
    try:
        for part in asked:
            try:
                runs[part]()
            except NFDError as error:
                # What can be measured is; the page says why the rest is not.
                errors.append(error)
                reasons[part] = str(error)
    finally:
        getattr(world, "close", lambda: None)()  # such as games that are processes
    if len(errors) == len(asked):
        raise errors[0]
    for unmeasured, reason in reasons.items():
        console.print(f"{unmeasured} was not measured: {reason}", style="red", markup=False)
    console.print(f"the report is {write_report(find_out(options, world), reasons)}")
    return 1 if errors else 0
