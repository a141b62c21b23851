"""The report of ``nfd demo``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.arena import Arena
from agents.evaluation import Evaluation
from agents.learning_curve import LearningCurve
from agents.report import page
from agents.report.plots import DARK, LIGHT, Stretch, plot_curve, plot_returns
from agents.results import best_sweep, describe_comparison, describe_machine
from world_model.storage import atomic_file


def write_report(
    out: Path,
    arena: Arena,
    results: dict[str, Any],
    before: LearningCurve | None,
    curve: LearningCurve,
    label: str,
    horizon: int | None = None,
) -> None:
    """Writes ``learning_curve.png`` and ``report.html`` into ``out``.

    ``horizon``: steps after which training episodes were cut off, where they were short ones from
    the midst of recorded ones.
    """
    stretches = [Stretch(label, curve.points)]
    if before is not None and before.points:
        offset = before.points[-1].timesteps
        stretches = [Stretch("bundled agent", before.points), Stretch(label, curve.points, offset)]
    bar = best_sweep(arena.real)
    # Returns of short episodes are no match for those of whole ones.
    levels = [] if horizon else _levels(arena.real, bar)
    curve_light, curve_dark = (
        plot_curve(stretches, levels, theme, "imagined return") for theme in (LIGHT, DARK)
    )
    with atomic_file(out / "learning_curve.png") as path:
        path.write_bytes(curve_light)
    returns_light, returns_dark = (
        plot_returns(arena.real, theme, "return") for theme in (LIGHT, DARK)
    )
    verdicts = [describe_comparison(comparison) for comparison in results["comparisons"]]
    world = arena.world
    parts = [
        page.paragraph(
            f"An agent learned to play {arena.real_name} inside a learned world, then played the "
            "real game.",
            "lead",
        ),
        page.heading("In the real game"),
        page.paragraph(" ".join(f"{verdict[0].upper()}{verdict[1:]}" for verdict in verdicts)),
        page.picture(returns_light, returns_dark, "Mean return of each policy in the real game"),
        page.returns_table(arena.real, "return", [e for e in arena.real if "agent" in e.policy]),
        page.paragraph(
            f"{_reward(world)}Every policy played the same episode seeds. Intervals are percentile "
            "bootstraps over the episodes. The bar is the best blind sweep of this very "
            "evaluation, which chance favours a little.",
            "faint",
        ),
        page.heading("Real and imagined, under the same actions"),
        page.film(
            out / "side_by_side.mp4",
            f"Left the real game, played by the {label}. Right what the world imagines from the "
            f"first {world.config.context_length} frames and the actions alone. Where the future "
            "is random, the two may part and both be right.",
        ),
        page.heading("Learning in imagination"),
        page.picture(
            curve_light,
            curve_dark,
            "Learning curve",
            _curve_caption(horizon),
        ),
        page.heading("This run"),
        page.facts(_facts(results)),
    ]
    page.write_page(out / "report.html", f"NFD-World: {world.config.name}", parts)


def _curve_caption(horizon: int | None) -> str:
    text = "Mean return of the last 100 imagined episodes, in which actions are sampled"
    if horizon:
        return f"{text}. They start in the midst of recorded ones, and end after {horizon} steps."
    return f"{text}. Dashed: mean returns in the real game."


def _reward(world: Any) -> str:
    meaning = dict(world.config.source).get("reward")
    return f"Returns count {meaning}. " if meaning else ""


def _levels(evaluations: Sequence[Evaluation], bar: Evaluation | None) -> list[tuple[str, float]]:
    shown = [e for e in evaluations if e is bar or e.policy == "uniform" or "agent" in e.policy]
    return [(f"{e.policy}, real", float(e.returns.mean())) for e in shown]


def _facts(results: dict[str, Any]) -> list[tuple[str, str]]:
    machine = describe_machine()
    return [
        ("world", results["world"]),
        ("agent", results["agent"] or "a fresh network"),
        (
            "training here",
            f"{results['training_timesteps']:,} imagined steps in "
            f"{results['training_minutes']} minutes",
        ),
        ("whole demo", f"{results['seconds'] / 60:.1f} minutes"),
        ("machine", f"{machine['processor']}, {machine['cpus']} CPUs, GPU: {machine['gpu']}"),
        ("all numbers", "results.json beside this file"),
    ]
