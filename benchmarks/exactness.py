"""``nfd bench exact``: speculation never changes what an agent sees, over many random steps.

Two environments take the same random steps, resets, snapshots, returns to them and hints, one with
speculation and one without. Frames, rewards, ends and probabilities must be equal, bit for bit.

That takes hours on a CPU. So a run that was interrupted, or ended by ``--minutes``, is a part of
the whole: the same command goes on with another part, under random numbers of its own. Parts can
also be run side by side, each into a file of its own with ``--part``, and put together with
``--join``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from gymnasium import spaces
from rich.console import Console

from benchmarks.exactness_parts import join_parts, next_part, read_parts
from benchmarks.progress import counting
from benchmarks.results import machine_line, write_benchmark
from nfd_env import NFDWorldEnv
from nfd_env.loading import load_rollout
from world_model.errors import NFDError
from world_model.speculation.reference import PaddedRollout

COUNTS = ("repeats", "accepted", "discarded", "wasted_passes")
"""Counters of the speculation that are reported."""


@dataclass(frozen=True)
class ExactnessOptions:
    """Compares speculation with no speculation, step by step."""

    world: Annotated[str, tyro.conf.Positional] = "doom-take-cover"
    """Name, folder or hub id of a world."""
    mode: str = "ahead"
    """ahead or branch."""
    depth: int | None = None
    """Steps ahead, or actions at once."""
    steps: int = 100_000
    """Steps to compare, those of earlier parts included."""
    sampling_steps: int | None = None
    """Denoising steps per frame (default: the world's own)."""
    repeat: float = 0.7
    """Probability that the last action is taken again."""
    minutes: float | None = None
    """Ends after so much time, if that comes first; the same command goes on."""
    compile: bool = False
    """Compile steps, for both."""
    device: str = "auto"
    """auto, cpu or cuda."""
    seed: int = 0
    """Of everything random."""
    part: int | None = None
    """Number of this part, which decides its random numbers (default: the next)."""
    join: tuple[Path, ...] = ()
    """Plays nothing: adds the parts in these files to those in ``out``."""
    out: Path = Path("runs/bench/exactness.json")
    """File for the results."""


def events(
    rng: np.random.Generator, space: spaces.Discrete, repeat: float
) -> Iterator[tuple[str, int]]:
    """Endless random events: what happens, and with which number.

    ``step`` takes an action; ``reset`` a seed; ``save``; ``restore`` returns to what was saved,
    with a seed of its own if the number is above 0; ``hint`` names an action.
    """
    first, actions = int(space.start), int(space.n)
    action = first
    while True:
        event = rng.random()
        if event < 0.01:
            yield "reset", int(rng.integers(2**31))
        elif event < 0.03:
            yield "save", 0
        elif event < 0.05:
            yield "restore", int(rng.integers(3))
        elif event < 0.15:
            yield "hint", first + int(rng.integers(actions))
        if rng.random() >= repeat:
            action = first + int(rng.integers(actions))
        yield "step", action


class Player:
    """One of the two environments."""

    def __init__(self, env: NFDWorldEnv, seed: int) -> None:
        self.env = env
        env.reset(seed=seed)
        self.saved = env.save_state()

    def do(self, event: str, number: int) -> tuple[Any, ...]:
        """What the agent sees of an event."""
        if event == "reset":
            return self.env.reset(seed=number)
        if event == "save":
            self.saved = self.env.save_state()
            return ()
        if event == "restore":
            return (self.env.restore_state(self.saved, seed=number or None),)
        if event == "hint":
            self.env.hint([number])
            return ()
        frame, reward, terminated, truncated, info = self.env.step(number)
        if terminated or truncated:
            self.env.reset()
        return frame, reward, terminated, truncated, info["termination_probability"]


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two agents saw the same."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def run(options: ExactnessOptions, console: Console, world: Any = None) -> dict[str, Any]:
    """Compares, writes ``options.out``, and returns the results.

    Raises:
        NFDError: if the mode is not an exact one, or there is no such world.
    """
    started = time.perf_counter()
    if options.mode not in ("ahead", "branch"):
        raise NFDError(f"--mode {options.mode}: exact are ahead and branch.")
    if options.steps < 1:
        raise NFDError(f"--steps {options.steps}: there is nothing to compare; give 1 or more.")
    world, rollout = load_rollout(
        options.world if world is None else world,
        options.device,
        sampling_steps=options.sampling_steps,
        compile=options.compile or None,
    )
    space = world.action_spec.space
    if not isinstance(space, spaces.Discrete):
        raise NFDError(f"exactness is measured with Discrete actions so far, not {space}.")
    parts = read_parts(options.out, world.model_id, _settings(options))
    if options.join:
        joined = join_parts(parts, options.join, world.model_id, _settings(options))
        return write_up(joined, options, world.model_id, console)
    here = next_part(parts) if options.part is None else options.part
    if any(part["part"] == here for part in parts):
        raise NFDError(f"--part {here}: {options.out} holds that part already.")
    speculative = NFDWorldEnv(rollout, speculation=options.mode, speculation_depth=options.depth)
    if options.mode == "branch":
        rollout = PaddedRollout(rollout, speculative.core.rollout.width)
    waiting = NFDWorldEnv(rollout, speculation="off")
    seeds = np.random.SeedSequence([options.seed, here])
    players = [Player(env, int(seeds.generate_state(1)[0])) for env in (speculative, waiting)]
    rng = np.random.default_rng(seeds)
    missing = options.steps - sum(part["steps"] for part in parts)
    done, different, interrupted = 0, 0, False
    try:
        with counting(console, "comparing", max(0, missing)) as tell:
            for event, number in events(rng, space, options.repeat):
                minutes = (time.perf_counter() - started) / 60
                if done >= missing or (options.minutes and minutes >= options.minutes):
                    break
                one, other = (player.do(event, number) for player in players)
                different += not same(one, other)
                if event == "step":
                    done += 1
                    tell(1)
    except KeyboardInterrupt:
        interrupted = True  # a step that one of the two has not taken is not counted
    if done:
        counts = speculative.speculation or {}
        seconds = round(time.perf_counter() - started, 1)
        parts.append(
            {
                "part": here,
                "steps": done,
                "different": different,
                **{name: counts[name] for name in COUNTS},
                "seconds": seconds,
                "machine": machine_line(),
            }
        )
    for env in (speculative, waiting):
        env.close()
    document = write_up(parts, options, world.model_id, console)
    if interrupted:
        raise KeyboardInterrupt
    return document


def write_up(
    parts: list[dict[str, Any]], options: ExactnessOptions, world: str, console: Console
) -> dict[str, Any]:
    """Writes the parts and their sums to ``options.out``, says what came out, and returns it."""
    document = write_benchmark(
        options.out,
        "exactness",
        world=world,
        settings=_settings(options),
        results={
            **{name: sum(part[name] for part in parts) for name in ("steps", "different", *COUNTS)},
            "parts": sorted(parts, key=lambda part: part["part"]),
        },
        seconds=sum(part["seconds"] for part in parts),
    )
    results = document["results"]
    console.print(
        f"{world}, {options.mode}: {results['different']} of {results['steps']:,} "
        f"steps differ; {results['accepted']:,} were ready, {results['discarded']:,} frames were "
        f"discarded.\n{machine_line()}\n{document['seconds']:.0f} s in {len(parts)} part(s); "
        f"results: {options.out}"
    )
    return document


def _settings(options: ExactnessOptions) -> dict[str, Any]:
    """What the parts of a result have in common."""
    free = ("world", "out", "steps", "minutes", "device", "part", "join")
    return {name: value for name, value in asdict(options).items() if name not in free}


def main(argv: list[str]) -> int:
    """Entry point of ``nfd bench exact``; the exit code is 1 if anything differs."""
    document = run(tyro.cli(ExactnessOptions, args=argv, prog="nfd bench exact"), Console())
    return int(document["results"]["different"] > 0)
