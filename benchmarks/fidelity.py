"""``nfd evaluate``: how faithful a world is to what it was learned from.

Held-out episodes are imagined again from a real context under the actions that were really taken,
and everything is held against simple baselines: the last frame repeated, the same model under
other actions, its own prediction blurred.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from benchmarks.clips import Clips, clips_from_starts
from benchmarks.fidelity_measures import find_classes, measure_all
from benchmarks.held_out import HeldOut, open_held_out
from benchmarks.progress import counting
from benchmarks.results import describe_data, machine_line, write_benchmark
from world_model.errors import ContextError, NFDError

Part = Literal["fidelity", "outcomes", "controllability", "ranking", "stability"]


@dataclass(frozen=True)
class EvaluateOptions:
    """Measures how faithful a world is, on episodes that it was not trained on."""

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world, or module:function that makes one."""
    data: Path | None = None
    """Folder of the data set that the world was learned from (default: data/NAME, by the name of
    the world, of its recordings or of their preset)."""
    measure: tuple[Part, ...] = ("fidelity", "outcomes")
    """What to measure: frames (fidelity), rewards and ends (outcomes), whether actions do what they
    should (controllability), blind policies in the real and the imagined game (ranking), one very
    long episode (stability)."""
    steps: tuple[int, ...] = ()
    """Numbers of sampling steps to measure (default: the world's own)."""
    sampler: str | None = None
    """Sampler (default: the world's own)."""
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
    """Controllability: training steps, of 128 pairs of frames, of what reads actions off frames."""
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
    policies: tuple[str, ...] = ("baselines",)
    """Ranking: which policies play; `baselines` are noop, left, uniform and four sweeps."""
    episodes: int = 20
    """Ranking: episodes of each policy, in the real and in the imagined game."""
    stable_steps: int = 20_000
    """Stability: steps of the long episode."""

    def figures(self) -> dict[str, Any]:
        """The options that decide the figures: all but paths, which say nothing elsewhere."""
        return {k: v for k, v in asdict(self).items() if k not in ("world", "data", "out")}


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
    from benchmarks import fidelity_report, pictures

    started = time.perf_counter()
    held_out = held_out or open_held_out(options, console, world)
    world, store, clips = held_out.world, held_out.store, held_out.clips
    context = int(world.config.context_length)
    long_clips = clips_from_starts(
        store, options.split, options.rollouts, context, options.rollout_steps, options.seed
    )
    classes = find_classes(store, options.split, options.seed)
    by_steps: dict[str, Any] = {}
    out = find_out(options, world)
    for steps in held_out.steps:
        total = held_out.frames_to_dream(steps) + _frames(options, clips, long_clips)
        with counting(console, f"{steps} sampling steps", total) as tell:
            dream, shuffled = held_out.dreams(steps, tell)
            results, long_frames = measure_all(
                held_out.rollout(steps),
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
        by_steps[str(steps)] = results
        if options.pictures:
            pictures.write_strip(out / f"clips-{steps}.png", clips, dream.frames)
            film = out / f"rollout-{steps}.mp4"
            pictures.write_comparison(film, long_clips, long_frames, float(world.config.fps))
    document = write_benchmark(
        out / "fidelity.json",
        "fidelity",
        world=world.model_id,
        data=describe_data(store, options.split),
        settings={**options.figures(), "context": context, "clips": len(clips)},
        results={"by_steps": by_steps},
        seconds=time.perf_counter() - started,
    )
    for steps, results in document["results"]["by_steps"].items():
        for table in fidelity_report.tables(results, f"{world.model_id}, {steps} sampling steps"):
            console.print(table)
        if options.pictures and has_matplotlib(console):
            fidelity_report.plot(results, out / f"fidelity-{steps}.png")
    console.print(f"{machine_line()}\n{document['seconds']:.0f} s; everything is in {out}")
    return document


def find_out(options: EvaluateOptions, world: Any) -> Path:
    """Folder for the results."""
    return options.out or Path("runs") / f"evaluate-{world.config.name}"


def check_fit(store: Any, world: Any) -> None:
    """Refuses a data set whose frames or actions the world does not know.

    Raises:
        ContextError: if they differ.
    """
    if tuple(store.frame_shape) != tuple(world.config.frame_shape):
        raise ContextError(
            f"the data set has frames of {tuple(store.frame_shape)}, the world {world.model_id} of "
            f"{tuple(world.config.frame_shape)}. Give the data set that it was learned from."
        )
    if store.action_spec.space != world.action_spec.space:
        raise ContextError(
            f"the data set's actions are {store.action_spec.space}, those of the world "
            f"{world.model_id} {world.action_spec.space}."
        )


def has_matplotlib(console: Console) -> bool:
    """Whether plots can be drawn; says so once where they cannot."""
    if find_spec("matplotlib") is None:
        console.print('No plots without matplotlib: pip install "nfd-world[report]"')
        return False
    return True


def _frames(options: EvaluateOptions, clips: Clips, long_clips: Clips) -> int:
    sampled = min(options.sampled_clips, len(clips)) * options.samples if options.samples > 1 else 0
    return sampled * options.horizon + len(long_clips) * options.rollout_steps


def main(argv: list[str]) -> int:
    """Entry point of ``nfd evaluate``."""
    options = tyro.cli(EvaluateOptions, args=argv, prog="nfd evaluate")
    console = Console()
    if not options.measure:
        raise NFDError("--measure names nothing to measure.")
    # These three look at the same clips.
    on_clips = {"fidelity", "outcomes", "controllability"} & set(options.measure)
    held_out = open_held_out(options, console) if on_clips else None
    if "fidelity" in options.measure:
        run(options, console, held_out=held_out)
    if "outcomes" in options.measure:
        from benchmarks.outcomes import run as run_outcomes

        run_outcomes(options, console, held_out=held_out)
    if "controllability" in options.measure:
        from benchmarks.controllability import run as run_controllability

        run_controllability(options, console, held_out=held_out)
    if "ranking" in options.measure:
        from benchmarks.policy_ranking import run as run_ranking

        run_ranking(options, console)
    if "stability" in options.measure:
        from benchmarks.stability import run as run_stability

        run_stability(options, console)
    return 0
