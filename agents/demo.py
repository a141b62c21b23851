"""``nfd demo``: the whole loop in minutes on a bundled world.

An agent that was trained in imagination only goes on learning there for a few minutes, then plays
the real game beside blind policies. A folder with a report, a film and all numbers remains.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from agents.arena import EVALUATION_SEED, Arena, find_policies, load_world
from agents.environments import imagined_vec_envs, training_starts
from agents.learning_curve import LearningCurve
from agents.policies import BLIND, Policy
from agents.policy_io import find_policy, load_config, load_policy, policy_id
from agents.ppo import PPOTrainer
from agents.ppo_config import PPOConfig
from agents.progress import train_with_progress
from agents.report.demo_report import write_report
from agents.report.film import compose, imagine_along, record_take
from agents.results import (
    best_sweep,
    compare,
    describe_comparison,
    evaluation_table,
    write_results,
)
from world_model.errors import NFDError
from world_model.provenance import Provenance
from world_model.video import write_video

FILM_SEED = EVALUATION_SEED + 100_000


@dataclass(frozen=True)
class DemoOptions:
    """Loads a bundled world, trains a bundled agent on in imagination, returns to the real game."""

    world: str = "doom-take-cover"
    """World to imagine: a name, a folder or a hub id."""
    agent: str = "doom-take-cover"
    """Trained policy to go on from: a name or a folder; `none` starts from a fresh network."""
    minutes: float = 4.0
    """Minutes of training in imagination; 0 trains nothing."""
    episodes: int = 30
    """Episodes in the real game for each policy."""
    blind: tuple[str, ...] = BLIND
    """Policies that do not look, to compare with."""
    film_steps: int = 150
    """Length of the film, in steps of the game."""
    out: Path | None = None
    """Folder for the report (default: runs/demo-DATE-TIME)."""
    seed: int = 0
    """Of the training."""
    streams: int = 4
    """Real games side by side; does not change the result."""
    device: str = "auto"
    """For the world and the agent's network: auto, cpu or cuda."""
    precision: str = "auto"
    """Of the imagined world: float32, bfloat16, or auto for the faster of the two here."""


# The bundled agent is good already: small steps at a constant rate keep it so while it learns on.
CONTINUING = PPOConfig(learning_rate=1e-4, final_learning_rate=1e-4)
SAME_TASK = ("gamma", "shaping_weight", "shaping_state")
"""Settings that say what an agent is rewarded for: it goes on with those it began with."""


def run(options: DemoOptions, console: Console, config: PPOConfig = CONTINUING) -> dict[str, Any]:
    """The whole demo; returns what ``results.json`` holds, but for the versions.

    Raises:
        NFDError: if world, agent or the real game are missing, before anything is computed.
    """
    started = time.perf_counter()
    out = options.out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    if (out / "training").exists():
        raise NFDError(f"{out} holds a demo already. Choose another folder with --out.")
    console.rule("1  the world")
    arena = Arena(
        console,
        world=load_world(options.world, options.device),
        streams=options.streams,
        device=options.device,
        precision=options.precision,
    )
    console.print(f"{arena.world.model_id}, learned from {arena.real_name}")
    arena.check_real()
    players = find_policies(options.blind, arena.action_spec)
    fresh = options.agent == "none"
    trained: list[Policy] = []
    if not fresh:
        trained.append(load_policy(options.agent, name="bundled agent"))
        console.print(f"agent {policy_id(options.agent)}: {_trained_in(options.agent)}")

    console.rule("2  training in imagination")
    out.mkdir(parents=True, exist_ok=True)
    contexts, horizon = training_starts(arena.world)
    trainer = PPOTrainer(
        imagined_vec_envs(
            arena.world, contexts=contexts, max_episode_steps=horizon, **arena.settings
        ),
        arena.action_spec,
        out / "training",
        config=PPOConfig() if fresh else _same_task(config, options.agent),
        seed=options.seed,
        source={"world": arena.world.model_id},
        start_from=None if fresh else options.agent,
        device=options.device,
        outcome=getattr(arena.world, "outcome", None),
    )
    label = "new agent" if fresh else "continued agent"
    try:
        if options.minutes > 0:
            train_with_progress(
                trainer, UNLIMITED, console=console, label=label, minutes=options.minutes
            )
        trainer.share(out / "policy")
    finally:
        trainer.close()
    console.print(f"{label}: {trainer.curve.describe()}")
    trained.append(load_policy(out / "policy", name=label))

    console.rule("3  back in the real game")
    for policy in [*players, *trained]:
        arena.play_real(policy, options.episodes)
    console.print(evaluation_table(arena.real, arena.real[0].environment, "return"))
    comparisons = [compare([e], best_sweep(arena.real)) for e in arena.real[len(players) :]]
    for comparison in comparisons:
        console.print(describe_comparison(comparison))

    console.rule("4  film and report")
    make_film(out / "side_by_side.mp4", arena, trained[-1], options.film_steps)
    results: dict[str, Any] = {
        "world": arena.world.model_id,
        "agent": None if fresh else policy_id(options.agent),
        "training_minutes": round(trainer.curve.seconds / 60, 2),
        "training_timesteps": trainer.timesteps,
        "first_evaluation_seed": EVALUATION_SEED,
        "evaluations": [evaluation.to_dict() for evaluation in arena.real],
        "comparisons": comparisons,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_results(out / "results.json", "demo", results)
    before = None if fresh else LearningCurve(find_policy(options.agent))
    if before is not None:
        before.load()
    write_report(out, arena, results, before, trainer.curve, label, horizon)
    console.print(f"Report: {out / 'report.html'} ({results['seconds'] / 60:.1f} min in all)")
    return results


def make_film(path: Path, arena: Arena, policy: Policy, steps: int) -> None:
    """Films ``policy`` in the real game, beside what the world imagines under its actions."""
    seeds = range(FILM_SEED, FILM_SEED + 5)
    take = record_take(policy, arena.make_real, seeds, steps)
    imagined = imagine_along(take, arena.world, **arena.settings)
    config = arena.world.config
    names = arena.action_spec.groups[0].labels
    title = f"{config.name}@{config.version}"
    pictures = compose(take, imagined, names, int(config.context_length), title)
    said = Provenance(arena.world.model_id, with_real=True, player=policy.name)
    write_video(path, np.stack(pictures), float(config.fps), scale=1, provenance=said)


UNLIMITED = 10**12
"""Timesteps of a training that the clock ends."""


def main(argv: list[str]) -> int:
    """Entry point of ``nfd demo``."""
    run(tyro.cli(DemoOptions, args=argv, prog="nfd demo"), Console())
    return 0


def _same_task(config: PPOConfig, agent: str) -> PPOConfig:
    settings = dict(load_config(agent).training.get("settings", {}))
    return replace(config, **{name: settings[name] for name in SAME_TASK if name in settings})


def _trained_in(agent: str) -> str:
    training = load_config(agent).training
    source = dict(training.get("source", {}))
    where = source.get("world") or f"{source.get('real_environment')} (real steps)"
    steps, begun, earlier = 0, "", training
    while earlier:  # a run that began with a policy was trained as long as both
        steps += int(earlier.get("timesteps", 0))
        first = dict(earlier.get("source", {}))
        begun = ", begun as an imitator of recorded play" if first.get("imitated") else ""
        earlier = first.get("started_from") or {}
    return f"{steps:,} steps in {where}{begun}"
