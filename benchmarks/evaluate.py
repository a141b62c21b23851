"""``nfd evaluate``: measures what is asked for, and makes a page of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import tyro
from rich.console import Console

from benchmarks.evaluate_options import EvaluateOptions, Part
from benchmarks.evaluation_folder import prepare_folder
from benchmarks.held_out import find_out
from benchmarks.imagined_env import EnvWorld
from benchmarks.opening import open_world
from benchmarks.parts import PARTS, Bench
from benchmarks.real_world import RealWorld
from world_model.errors import ConfigError, NFDError


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
        # Those of tier b take longest.
        by_tier: list[Part] = sorted(get_args(Part), key=lambda name: PARTS[name].tier)
        chosen = [name for name in by_tier if options.tier in (PARTS[name].tier, "all")]
        options = replace(options, measure=tuple(chosen))
    if not options.measure:
        raise NFDError("--measure names nothing to measure.")
    return measure(options, console)


def measure(options: EvaluateOptions, console: Console) -> int:
    """Measures all that is asked for and writes the page; 1 where a part could not be measured.

    Raises:
        NFDError: if nothing could be measured.
    """
    from benchmarks.report import write_report

    world = open_world(options.world, options.device, options.real_env)
    check_sampling(options, world)
    bench = Bench(options, console, world)
    reasons: dict[str, str] = {}
    errors: list[NFDError] = []
    asked = list(dict.fromkeys(options.measure))
    out = find_out(options, world)
    prepare_folder(out, asked)
    done: list[str] = []
    try:
        for part in asked:
            try:
                PARTS[part].measure(bench)
                done.append(part)
            except NFDError as error:
                # What can be measured is; the page says why the rest is not.
                errors.append(error)
                reasons[part] = str(error)
    except KeyboardInterrupt:
        if done:
            console.print(
                f"\n{', '.join(done)}: measured, in {out}. 'nfd evaluate --report --out {out}' "
                "makes a page of it.",
                markup=False,
            )
        raise
    finally:
        getattr(world, "close", lambda: None)()  # such as games that are processes
    if len(errors) == len(asked):
        raise errors[0]
    for unmeasured, reason in reasons.items():
        console.print(f"{unmeasured} was not measured: {reason}", style="red", markup=False)
    console.print(f"the report is {write_report(out, reasons)}")
    return 1 if errors else 0


def check_sampling(options: EvaluateOptions, world: Any) -> None:
    """Refuses settings of sampling for what does not sample.

    Raises:
        ConfigError: if ``world`` is somebody's environment or a real game, and any are given.
    """
    if not isinstance(world, EnvWorld | RealWorld):
        return
    given = {
        "--steps": options.steps not in ((), (1,)),
        "--sampler": options.sampler is not None,
        "--precision": options.precision != "float32",
    }
    if any(given.values()):
        flags = " and ".join(flag for flag, is_given in given.items() if is_given)
        raise ConfigError(f"{world.model_id} steps an environment: it has no {flags}.")
