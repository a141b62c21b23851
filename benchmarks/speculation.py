"""``nfd bench speculation``: what the modes of speculation gain for agents of different habits.

An agent thinks for a while (it sleeps: a person, a network on another processor), then takes the
last action again with some probability. Every figure is the time from one observation to the next,
thinking included, in turns of all modes; beside it stands what the formula promises from the
measured times of the plain environment.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.progress import counting
from benchmarks.results import machine_line, write_benchmark
from nfd_env import NFDWorldEnv
from nfd_env.loading import load_rollout
from world_model.errors import NFDError
from world_model.speculation.gain import ahead_seconds, best_joint_depth, joint_speed_up
from world_model.speculation.modes import DEEPEST, marginal_cost


@dataclass(frozen=True)
class SpeculationOptions:
    """Measures what speculation gains."""

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world."""
    modes: tuple[str, ...] = ("off", "auto", "ahead", "branch")
    """Modes of speculation; `off` is what the others are compared with. `joint` is for worlds whose
    network is given no previous frames."""
    repeats: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95)
    """Probabilities that the agent takes its last action again; else it takes another one."""
    thinking: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """How long the agent thinks, in plain steps of the world."""
    steps: int = 60
    """Steps of each mode, habit and time, in all."""
    rounds: int = 3
    """Turns in which they are taken."""
    sampling_steps: int | None = None
    """Denoising steps per frame (default: the world's own)."""
    device: str = "auto"
    """auto, cpu or cuda."""
    seed: int = 0
    """Of starts and actions."""
    out: Path = Path("runs/bench/speculation.json")
    """File for the results; a plot goes beside it."""


class Agent:
    """Plays one environment; thinks by sleeping."""

    def __init__(self, env: NFDWorldEnv, repeat: float, seconds: float, seed: int) -> None:
        self.env, self.repeat, self.seconds = env, repeat, seconds
        self.rng = np.random.default_rng(seed)
        self.actions = int(env.action_space.n)  # type: ignore[attr-defined]
        self.action = 0
        env.reset(seed=seed)

    def play(self, steps: int) -> list[float]:
        """Seconds from one observation to the next."""
        taken = []
        for _ in range(steps):
            started = time.perf_counter()
            if self.seconds:
                time.sleep(self.seconds)
            if self.rng.random() >= self.repeat:
                other = int(self.rng.integers(1, max(2, self.actions)))
                self.action = (self.action + other) % self.actions
            self.env.step(self.action)
            taken.append(time.perf_counter() - started)
        return taken


def run(options: SpeculationOptions, console: Console, world: Any = None) -> dict[str, Any]:
    """Measures, writes ``options.out`` and a plot, prints the table, and returns the results.

    Raises:
        NFDError: if there is no such world, or its actions are not Discrete.
    """
    started = time.perf_counter()
    if "off" not in options.modes:
        raise NFDError("--modes must hold `off`: the others are compared with it.")
    world = load_rollout(options.world if world is None else world, options.device)[0]
    if not hasattr(world.action_spec.space, "n"):
        raise NFDError("speculation is measured with Discrete actions so far.")
    settings = {
        "world": world,
        "device": options.device,
        "sampling_steps": options.sampling_steps,
        "endless": True,
    }
    plain = Agent(NFDWorldEnv(**settings, speculation="off"), 0.5, 0.0, options.seed)
    plain.play(5)
    model = float(np.median(plain.play(20)))
    cost = marginal_cost(plain.env.core.device)
    rows = []
    cells = list(itertools.product(options.thinking, options.repeats))
    with counting(console, "measuring", len(cells) * len(options.modes) * options.rounds) as tell:
        for thinking, repeat in cells:
            agents = {
                mode: Agent(
                    NFDWorldEnv(**settings, speculation=mode),
                    repeat,
                    thinking * model,
                    options.seed,
                )
                for mode in options.modes
            }
            times: dict[str, list[float]] = {mode: [] for mode in options.modes}
            for agent in agents.values():
                agent.play(25)  # warm-up; `auto` makes up its mind
            warm = {mode: agent.env.speculation or {} for mode, agent in agents.items()}
            for _ in range(options.rounds):
                for mode, agent in agents.items():
                    times[mode] += agent.play(max(1, options.steps // options.rounds))
                    tell(1)
            base = float(np.mean(times["off"]))
            for mode, agent in agents.items():
                counts, before = agent.env.speculation or {}, warm[mode]
                steps, accepted, discarded, wasted, repeated = (
                    counts.get(name, 0) - before.get(name, 0)
                    for name in ("steps", "accepted", "discarded", "wasted_passes", "repeats")
                )
                rows.append(
                    {
                        "mode": mode,
                        "thinking": thinking,
                        "repeat": repeat,
                        # The mean: hits and misses take different times.
                        "ms": 1e3 * float(np.mean(times[mode])),
                        "speed_up": float(np.mean(times["off"])) / float(np.mean(times[mode])),
                        "formula": promised(mode, repeat, thinking * model, base, cost),
                        "acceptance": accepted / max(1, steps),
                        "discarded": discarded / max(1, steps),
                        "repeat_rate": repeated / max(1, steps),
                        "wasted_passes": wasted / max(1, steps),
                    }
                )
                agent.env.close()
    results = {"plain_step_ms": 1e3 * model, "rows": rows}
    document = write_benchmark(
        options.out,
        "speculation",
        world=world.model_id,
        settings={k: v for k, v in asdict(options).items() if k not in ("world", "out")},
        results=results,
        seconds=time.perf_counter() - started,
    )
    console.print(table(document["results"], document["world"]))
    picture = options.out.with_suffix(".png")
    draw(results, picture)
    console.print(
        f"{machine_line()}\n{document['seconds']:.0f} s; results: {options.out}, plot: {picture}"
    )
    return document


def promised(
    mode: str, repeat: float, agent: float, whole: float, marginal_cost: float = 1.0
) -> float:
    """Speed-up that the formula promises, from the plain environment's time of a whole step.

    Args:
        mode: of speculation.
        repeat: probability that the last action is taken again.
        agent: seconds that the agent thinks.
        whole: seconds from one observation to the next without speculation.
        marginal_cost: of one more frame in a go of ``joint``, relative to the first.

    >>> promised("ahead", 1.0, 0.02, 0.04), promised("branch", 0.0, 0.02, 0.04)
    (2.0, 2.0)
    """
    model = max(whole - agent, 1e-9)
    if mode == "off":
        return 1.0
    if mode == "joint":
        depth = best_joint_depth(repeat, marginal_cost, DEEPEST)
        return whole / (agent + model / joint_speed_up(repeat, depth, marginal_cost))
    if mode == "branch":  # all actions: as if every expectation came true
        return whole / ahead_seconds(1.0, agent, model)
    speed_up = whole / ahead_seconds(repeat, agent, model)
    return max(1.0, speed_up) if mode == "auto" else speed_up


def table(results: dict[str, Any], title: str) -> Table:
    """One row for each habit, the modes side by side."""
    modes = list(dict.fromkeys(row["mode"] for row in results["rows"]))
    made = Table(
        title=f"{title}: speed-up by speculation, measured (formula)",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=(
            f"A plain step takes {results['plain_step_ms']:.1f} ms. Thinking in plain steps; the "
            "formula for branch assumes that it costs no more than one action."
        ),
    )
    for column in ("thinking", "repeats", "off, ms", *(m for m in modes if m != "off")):
        made.add_column(column, justify="right", no_wrap=True)
    cells: dict[tuple[float, float], dict[str, Any]] = {}
    for row in results["rows"]:
        cells.setdefault((row["thinking"], row["repeat"]), {})[row["mode"]] = row
    for (thinking, repeat), row in cells.items():
        made.add_row(
            f"{thinking:g}",
            f"{repeat:.0%}",
            f"{row['off']['ms']:.1f}",
            *(_speed_up(row[mode]) for mode in modes if mode != "off"),
        )
    return made


def draw(results: dict[str, Any], path: Path) -> None:
    """Speed-up against the rate of repeats, one panel for each time of thinking."""
    from benchmarks.plotting import COLOURS, figure, save

    times = list(dict.fromkeys(row["thinking"] for row in results["rows"]))
    modes = [m for m in dict.fromkeys(row["mode"] for row in results["rows"]) if m != "off"]
    fig, axes = figure(1, len(times))
    for ax, thinking in zip(axes.flat, times, strict=True):
        for mode, colour in zip(modes, itertools.cycle(COLOURS)):
            rows = [r for r in results["rows"] if (r["mode"], r["thinking"]) == (mode, thinking)]
            repeats = [row["repeat"] for row in rows]
            ax.plot(repeats, [r["speed_up"] for r in rows], "o-", color=colour, label=mode)
            ax.plot(repeats, [r["formula"] for r in rows], ":", color=colour)
        ax.axhline(1, color="#8a90a0", linewidth=1)
        ax.set_title(f"agent thinks as long as {thinking:g} plain steps take")
        ax.set_xlabel("probability of the same action again", fontsize=8)
    axes.flat[0].set_ylabel("speed-up (dotted: formula)", fontsize=8)
    axes.flat[0].legend(frameon=False, fontsize=8)
    save(fig, path)


def _speed_up(row: dict[str, Any]) -> str:
    return f"{row['speed_up']:.2f} ({row['formula']:.2f})"


def main(argv: list[str]) -> int:
    """Entry point of ``nfd bench speculation``."""
    run(tyro.cli(SpeculationOptions, args=argv, prog="nfd bench speculation"), Console())
    return 0
