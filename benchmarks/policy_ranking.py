"""Whether a world ranks policies as the real game does: what it is for, put to the test.

Blind policies of graded skill play the real game and the imagined one. A world in which the better
policy of the real game is the better one too can be trained in; return for return it may still be
off, which the table shows as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.agreement import agreement
from agents.arena import EVALUATION_SEED, find_policies
from agents.evaluation import Evaluation
from agents.policies import Policy
from agents.results import package_version
from agents.statistics import Interval, rank_agreement
from benchmarks.agent_records import read_played, write_played
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.evaluation_folder import REMEMBERED
from benchmarks.fidelity_report import text as interval_text
from benchmarks.held_out import find_out
from benchmarks.one_figure import SIDES
from benchmarks.plotting import COLOURS, GREY, cross, ends_of, figure, has_matplotlib, save
from benchmarks.progress import counting
from benchmarks.ranking_episodes import play_all
from benchmarks.real_episodes import play_real as play
from benchmarks.reality import code_of, named_reality, reality_of
from benchmarks.results import closing_words, write_benchmark
from nfd_env.loading import load_rollout
from world_model.errors import NFDError

CORRELATIONS = ("spearman", "pearson", "ratio")
"""What has an interval over episodes alone as well."""
EVALUATIONS = "evaluations"
"""Where the file of what is remembered has it."""
STREAMS = 48
"""Imagined episodes side by side."""


def run(options: EvaluateOptions, console: Console, world: Any = None) -> dict[str, Any]:
    """Plays, writes JSON and plot to ``options.out``, prints the table, returns the results.

    Raises:
        NFDError: if the world, a policy, or the real game is missing.
    """
    started = time.perf_counter()
    world = load_rollout(options.world if world is None else world, options.device)[0]
    out = find_out(options, world)
    policies = find_policies(options.policies, world.action_spec)
    if len(policies) < 2:
        raise NFDError("a ranking is of two --policies or more.")
    cache = out / REMEMBERED
    real = play_real(policies, world, options.episodes, cache, console, options.real_env)
    document: dict[str, Any] = {}
    results: dict[str, Any] = {"by_steps": {}}
    for steps in options.steps or (int(world.config.sampling_steps),):
        imagined = play_imagined(policies, world, steps, options, console)
        results["by_steps"][str(steps)] = compare_rankings(real, imagined)
        # Written after every number of steps: an interrupted run keeps what it has.
        document = write_benchmark(
            out / "ranking.json",
            "ranking",
            world=world.model_id,
            settings={
                **options.figures(),
                "first_seed": EVALUATION_SEED,
                "own_steps": int(world.config.sampling_steps),
            },
            results=results,
            seconds=time.perf_counter() - started,
        )
        figures = document["results"]["by_steps"][str(steps)]
        console.print(table(figures, f"{world.model_id}, {steps} sampling steps"))
        if options.pictures and has_matplotlib(console):
            plot(figures, out / f"ranking-{steps}.png")
    console.print(closing_words(document, out))
    return document


def compare_rankings(real: Sequence[Evaluation], imagined: Sequence[Evaluation]) -> dict[str, Any]:
    """Agreement between two evaluations of the same policies.

    Returns:
        ``spearman`` with its bootstrap interval over episodes alone; ``pearson``, ``ratio`` of the
        mean returns; ``over_policies``, the three with intervals over policies and episodes, and
        ``over_episodes``, over episodes alone; ``best`` (the best policy of each); the evaluations
        themselves; and what else :func:`agents.agreement.agreement` finds, with intervals over
        policies and episodes.
    """
    means = [np.array([e.returns.mean() for e in side]) for side in (real, imagined)]
    returns = [[e.returns for e in side] for side in (real, imagined)]
    found, of_these = agreement(*returns), agreement(*returns, resample_policies=False)
    of_these["spearman"] = rank_agreement(*returns)
    return {
        **{name: part for name, part in found.items() if name not in CORRELATIONS},
        "spearman": of_these["spearman"],
        **{name: found[name].estimate for name in CORRELATIONS if name != "spearman"},
        "over_policies": {name: found[name] for name in CORRELATIONS},
        "over_episodes": {name: of_these[name] for name in CORRELATIONS},
        "best": {
            "real": real[int(means[0].argmax())].policy,
            "imagined": imagined[int(means[1].argmax())].policy,
        },
        "policies": {
            a.policy: {"real": a.to_dict(), "imagined": b.to_dict()}
            for a, b in zip(real, imagined, strict=True)
        },
    }


def play_real(
    policies: Sequence[Policy],
    world: Any,
    episodes: int,
    cache: Path,
    console: Console,
    real_env: str | None = None,
) -> list[Evaluation]:
    """The policies in the real game; episodes that ``cache`` knows are not played again.

    Raises:
        NFDError: if the world does not say what it was learned from, that cannot be played, or its
            spaces are others.
    """
    real = named_reality(world, real_env)
    key = {
        "environment": real,
        "vizdoom": package_version("vizdoom"),
        "first_seed": EVALUATION_SEED,
        "episodes": episodes,
        **code_of(real),
    }
    # Where the code cannot be read, what is known is told without the game, too.
    ignoring = () if "code" in key else ("code",)
    known = read_played(cache, key, EVALUATIONS, ignoring) or {}
    remembered = [policy.name for policy in policies if policy.name in known]
    if len(remembered) < len(policies):
        reality_of(world, real_env)
    if remembered:
        console.print(f"real returns of {', '.join(remembered)} are those in {cache}", markup=False)
    evaluations, seeds = [], range(EVALUATION_SEED, EVALUATION_SEED + episodes)
    for policy in policies:
        if policy.name not in known:
            known[policy.name] = play(policy, real, seeds, console)
            write_played(cache, key, known, EVALUATIONS)
        evaluations.append(known[policy.name])
    return evaluations


def play_imagined(
    policies: Sequence[Policy], world: Any, steps: int, options: EvaluateOptions, console: Console
) -> list[Evaluation]:
    """The policies in the imagined game, by worlds that play themselves or in one batch."""
    seeds = range(EVALUATION_SEED, EVALUATION_SEED + options.episodes)
    with counting(console, f"imagined episodes, {steps} sampling steps",
                  len(policies) * len(seeds)) as tell:  # fmt: skip
        if hasattr(world, "play"):
            evaluations = []
            for policy in policies:
                evaluations.append(world.play(policy, seeds))
                tell(len(seeds))
            return evaluations
        return play_all(
            policies,
            world,
            seeds,
            streams=min(STREAMS, getattr(world, "max_streams", STREAMS)),
            on_episode=lambda: tell(1),
            sampling_steps=steps,
            **options.imagination,
            contexts=getattr(world, "starts", "bundled"),
        )


def table(figures: dict[str, Any], title: str) -> Table:
    """One row per policy, real beside imagined; agreement in the caption."""
    result = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    result.add_column("policy", no_wrap=True)
    for column in ("real return", "imagined return", "ratio", "imagined steps"):
        result.add_column(column, justify="right")
    for name, sides in figures["policies"].items():
        real, imagined = (sides[game]["mean_return"] for game in SIDES)
        result.add_row(
            name,
            _text(real),
            _text(imagined),
            f"{imagined['estimate'] / real['estimate']:.2f}" if real["estimate"] else "-",
            f"{sides['imagined']['mean_length']:.0f}",
        )
    best = figures["best"]
    shown = {**figures, **figures["over_policies"]}
    spearman, pearson, kendall, regret = (
        interval_text(shown[name], 2) for name in ("spearman", "pearson", "kendall", "regret")
    )
    result.caption = (
        f"Spearman {spearman}, Pearson {pearson}, Kendall {kendall}, regret of a choice between "
        f"two {regret}; best in the real game: {best['real']}, in imagination: "
        f"{best['imagined']}. 95 % intervals over policies and episodes; over episodes alone, of "
        f"these very policies, Spearman {interval_text(figures['over_episodes']['spearman'], 2)}."
    )
    return result


def plot(figures: dict[str, Any], path: Path) -> None:
    """Real against imagined return, one dot per policy with both intervals.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(size=(5.6, 4.6))
    ax = axes[0, 0]
    ends = [0.0]
    for name, sides in figures["policies"].items():
        real, imagined = (sides[game]["mean_return"] for game in SIDES)
        ends += [*ends_of(real), *ends_of(imagined)]
        cross(ax, real, imagined, name, COLOURS[0])
    ax.plot([min(ends), max(ends)], [min(ends), max(ends)], color=GREY, linestyle="--", linewidth=1)
    ax.set_xlabel("return in the real game")
    ax.set_ylabel("return in the imagined one")
    ax.set_title(f"Spearman {interval_text(figures['over_policies']['spearman'], 2)}")
    save(fig, path)


def _text(interval: dict[str, float | None]) -> str:
    numbers = (interval[name] for name in ("estimate", "low", "high"))
    return str(Interval(*(np.nan if x is None else x for x in numbers)))
