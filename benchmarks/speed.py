"""``nfd bench speed``: how fast the environment steps, end to end, and where the time goes.

Every figure is a whole ``env.step``: action in; observation, reward, termination and info out. All
configurations take turns in short stretches, so that a busy moment of the machine hits them alike
and ratios between them mean something.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import nfd_env  # noqa: F401 - registers the ids
from benchmarks.plotting import COLOURS, GREY, INK, figure, has_matplotlib, save
from benchmarks.progress import counting
from benchmarks.results import machine_line, write_benchmark
from benchmarks.start_up import measure_start_up
from benchmarks.time_parts import PARTS, time_parts
from benchmarks.timed_steps import first_steps, time_steps
from nfd_env.loading import load_rollout, resolve_device


@dataclass(frozen=True)
class SpeedOptions:
    """Measures how fast a world steps through Gymnasium, end to end."""

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world, or module:function that makes one."""
    streams: tuple[int, ...] = (1, 32)
    """Numbers of environments in one batch; 1 is a plain gym.make."""
    steps: tuple[int, ...] = ()
    """Numbers of sampling steps (default: 1, 2, 4 and the world's own)."""
    thread_counts: tuple[int, ...] = (1, 2)
    """Numbers of torch CPU threads. More than one needs as many idle cores: threads that wait for
    a busy one make steps many times slower."""
    ways: tuple[Literal["plain", "compiled"], ...] = ("plain",)
    """Also with a step's parts compiled, which takes a minute or more for each batch
    size and thread count."""
    precisions: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Number formats of the transformer's matrix products; bfloat16 is fast only where the hardware
    has instructions for it."""
    seconds: float = 3.0
    """Measuring time of each configuration, in all."""
    rounds: int = 3
    """Turns that each configuration gets."""
    start_up: bool = True
    """Also measure import and gym.make, in processes of their own."""
    device: str = "auto"
    """auto, cpu or cuda."""
    seed: int = 0
    """Of starts, noise and actions."""
    out: Path = Path("runs/bench/speed.json")
    """File for the results; a plot goes beside it."""


@dataclass(frozen=True)
class Configuration:
    """What is timed."""

    streams: int
    """Environments in one batch."""
    sampling_steps: int
    """Denoising steps per frame."""
    threads: int
    """torch CPU threads."""
    way: str = "plain"
    """Or ``compiled``."""
    precision: str = "float32"
    """Of the transformer's matrix products."""


class Stepper:
    """One environment under random actions, that never ends an episode."""

    def __init__(self, world: Any, configuration: Configuration, device: str, seed: int) -> None:
        settings = {
            "world": world,
            "device": device,
            "sampling_steps": configuration.sampling_steps,
            "endless": True,
            "compile": configuration.way == "compiled",
            "precision": configuration.precision,
        }
        self.env: Any
        if configuration.streams == 1:
            # Wrapped as gym.make wraps it for everybody.
            self.env = gym.make("NFD-World-v0", **settings)
        else:
            self.env = gym.make_vec("NFD-World-v0", num_envs=configuration.streams, **settings)
        self.env.action_space.seed(seed)
        self.env.reset(seed=seed)

    def run(self, seconds: float, at_least: int = 2) -> list[float]:
        """Seconds of each step, for about ``seconds`` in all."""
        return time_steps(self.env, seconds, at_least)


def run(options: SpeedOptions, console: Console, world: Any = None) -> dict[str, Any]:
    """Measures, writes ``options.out``, prints the table, and returns the results.

    Raises:
        NFDError: if there is no such world.
    """
    import torch

    started = time.perf_counter()
    world = load_rollout(options.world if world is None else world, options.device)[0]
    own = int(world.config.sampling_steps)
    steps = options.steps or tuple(sorted({1, 2, 4, own}))
    configurations = [
        Configuration(*parts)
        for parts in itertools.product(
            options.streams, steps, options.thread_counts, options.ways, options.precisions
        )
    ]
    times: dict[Configuration, list[float]] = {c: [] for c in configurations}
    parts: dict[Configuration, dict[str, Any]] = {}
    first = first_steps(resolve_device(options.device), on_cpu=3)
    steppers = {c: Stepper(world, c, options.device, options.seed) for c in configurations}
    turns = len(configurations) * (options.rounds + 1)
    threads_before = torch.get_num_threads()
    try:
        with counting(console, "measuring", turns) as tell:
            for turn, (configuration, stepper) in itertools.product(
                range(options.rounds + 1), steppers.items()
            ):
                torch.set_num_threads(configuration.threads)
                stepper.run(0, at_least=first if turn == 0 else 1)
                if turn < options.rounds:
                    times[configuration] += stepper.run(options.seconds / options.rounds)
                else:
                    core = stepper.env.unwrapped.core
                    with time_parts(core.rollout, options.device, core) as part:
                        walls = stepper.run(min(options.seconds, 1.0))
                    parts[configuration] = {
                        "parts_ms": part.per_step(sum(walls), len(walls)),
                        "passes_ms": part.per_pass(len(walls)),
                    }
                tell(1)
    finally:
        torch.set_num_threads(threads_before)
        for stepper in steppers.values():
            stepper.env.close()
    base = times[_base(configurations, own)]
    results: dict[str, Any] = {
        "default_steps": own,
        "configurations": [
            {**asdict(c), **summary(times[c], c.streams, base), **parts[c]} for c in configurations
        ],
    }
    if options.start_up:
        results["start_up_seconds"] = measure_start_up(options.world)
    document = write_benchmark(
        options.out,
        "speed",
        world=world.model_id,
        settings={k: v for k, v in asdict(options).items() if k not in ("world", "out")},
        results=results,
        seconds=time.perf_counter() - started,
    )
    console.print(table(document["results"], document["world"]))
    if has_matplotlib(console):
        draw(document["results"], options.out.with_suffix(".png"))
    console.print(f"{machine_line()}\n{document['seconds']:.0f} s; results: {options.out}")
    return document


def summary(times: list[float], streams: int, base: list[float]) -> dict[str, Any]:
    """Figures of one configuration from the seconds of its steps.

    >>> summary([0.01] * 3, 2, [0.02])["frames_per_second"]
    200.0
    """
    milliseconds = np.array(times) * 1e3
    p50 = float(np.median(milliseconds))
    # The 95 % interval of a median, free of assumptions: two of the times themselves.
    reach = min(0.5, len(times) ** -0.5)
    low, high = np.quantile(milliseconds, [0.5 - reach, 0.5 + reach])
    return {
        "measured_steps": len(times),
        "ms_per_step": {
            "estimate": p50,
            "low": float(low),
            "high": float(high),
            "confidence": 0.95,
        },
        "ms_p95": float(np.quantile(milliseconds, 0.95)),
        "ms_p99": float(np.quantile(milliseconds, 0.99)),
        "frames_per_second": round(streams * 1e3 / p50, 1),
        "mean_frames_per_second": round(streams * 1e3 / float(milliseconds.mean()), 1),
        "speed_up": (streams / p50) / (1e-3 / float(np.median(base))),
    }


def table(results: dict[str, Any], title: str) -> Table:
    """One row per configuration; the breakdown in milliseconds."""
    result = Table(
        title=f"{title}: env.step, end to end",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    figures = ("p50", "p95", "p99", "fps", *PARTS, "Python", "passes")
    for column in ("envs", "steps", "cpus", "way", "format", *figures):
        result.add_column(column, justify="right", no_wrap=True)
    for row in results["configurations"]:
        result.add_row(
            str(row["streams"]),
            str(row["sampling_steps"]),
            str(row["threads"]),
            row["way"],
            {"float32": "fp32", "bfloat16": "bf16"}[row["precision"]],
            _ms(row["ms_per_step"]["estimate"]),
            _ms(row["ms_p95"]),
            _ms(row["ms_p99"]),
            f"{row['frames_per_second']:.0f}",
            *(_ms(row["parts_ms"][name]) for name in (*PARTS, "python")),
            " ".join(_ms(value) for value in row["passes_ms"]) or "-",
            style="bold" if row["sampling_steps"] == results["default_steps"] else None,
        )
    caption = (
        "Milliseconds of a whole step. Steps: sampling steps, the world's own in bold; cpus: torch "
        "threads. The parts were timed in a run of their own; the first pass of the network also "
        "reads the last frame."
    )
    if "start_up_seconds" in results:
        start = results["start_up_seconds"]
        caption += (
            f" Start-up: import nfd_env {start['import_nfd_env']:.2f} s, gym.make "
            f"{start['gym_make']:.2f} s (torch already imported: {start['import_torch']:.2f} s)."
        )
    result.caption = caption
    return result


def draw(results: dict[str, Any], path: Path) -> None:
    """Frames per second against the number of environments, and where a step's time goes.

    Raises:
        StorageError: if the file cannot be written.
    """
    rows = results["configurations"]
    fig, axes = figure(1, 2, (5.6, 3.6))
    speed, shares = axes.flat
    kinds = list(dict.fromkeys(_kind(row) for row in rows))
    looks = itertools.product(("-", "--", ":", "-."), COLOURS)
    for kind, (line, colour) in zip(kinds, itertools.cycle(looks)):
        mine = [row for row in rows if _kind(row) == kind]
        counts = [row["streams"] for row in mine]
        speed.plot(counts, [row["frames_per_second"] for row in mine], f"o{line}", color=colour,
                   label=kind, markersize=4)  # fmt: skip
    speed.set_xscale("log", base=2)
    speed.set_yscale("log")
    speed.set_title("frames per second")
    speed.set_xlabel("environments in one batch")
    speed.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    fewest = min(row["streams"] for row in rows)
    shown = [row for row in rows if row["streams"] == fewest]
    left = np.zeros(len(shown))
    for part, colour in zip((*PARTS, "python"), itertools.cycle((*COLOURS, GREY, INK))):
        values = np.array([row["parts_ms"][part] for row in shown])
        shares.barh([_kind(row) for row in shown], values, left=left, color=colour, label=part)
        left += values
    shares.set_title(f"milliseconds of a step, {fewest} environment{'s' if fewest > 1 else ''}")
    shares.tick_params(axis="y", labelsize=7)
    shares.legend(frameon=False, fontsize=7)
    save(fig, path)


def _kind(row: dict[str, Any]) -> str:
    """What a configuration is but for the number of environments."""
    steps = f"{row['sampling_steps']} step{'' if row['sampling_steps'] == 1 else 's'}"
    way = "" if row["way"] == "plain" else ", compiled"
    half = "" if row["precision"] == "float32" else ", bf16"
    return f"{steps}, {row['threads']} thread{'' if row['threads'] == 1 else 's'}{way}{half}"


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _base(configurations: list[Configuration], own: int) -> Configuration:
    """What ratios refer to: one stream on one thread at the world's own steps, if it is there."""
    first = configurations[0]
    wanted = Configuration(1, own, 1, first.way, first.precision)
    return wanted if wanted in configurations else first


def main(argv: list[str]) -> int:
    """Entry point of ``nfd bench``."""
    run(tyro.cli(SpeedOptions, args=argv, prog="nfd bench speed"), Console())
    return 0
