"""``nfd evaluate --measure lift``: what training in the world is worth in the real game.

Agents that trained in imagination play the real game beside chance, the best blind policy (and,
for games that somebody here can see, the best one that looks), and PPO that trained on real steps
instead: on as many as the world had learned from, and on as many as the agents took in
imagination. All agents have the same network, see through the same outcome model and have the same
settings of PPO; only where their steps come from differs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console

from agents.arena import find_policies
from agents.environments import training_starts
from agents.policies import LOOKING
from agents.statistics import iqm_interval, mean_interval
from benchmarks.agent_records import REAL, Arm
from benchmarks.agent_statistics import improvement_interval, lead_interval
from benchmarks.evaluate_options import EvaluateOptions
from benchmarks.exploitation import GIVEN, RANDOM, make_academy, play_fixed
from benchmarks.held_out import find_out
from benchmarks.imagined_agents import Academy
from benchmarks.plotting import has_matplotlib
from benchmarks.results import closing_words, write_benchmark
from nfd_env.loading import load_rollout
from world_model.data import open_store_for
from world_model.data.locating import find_dataset

IMAGINATION = "imagination"
"""Name of the agents that trained in the world."""
SAME_DATA, SAME_STEPS = "real steps, as the world's data", "real steps, as in imagination"
"""Names of the model-free baselines."""
Returns = Sequence[np.ndarray]
"""In the real game, one array for each agent."""


def run(options: EvaluateOptions, console: Console, world: Any = None) -> dict[str, Any]:
    """Trains, plays, writes JSON and plot to ``options.out``, prints the table.

    With ``--agents`` those stand for training in imagination, and nothing is trained there. The
    document is written after every group of agents.

    Raises:
        NFDError: if the world, the data set or the real game is missing.
    """
    from benchmarks import lift_report

    started = time.perf_counter()
    world = load_rollout(options.world if world is None else world, options.device)[0]
    out = find_out(options, world)
    document: dict[str, Any] = {}
    by_steps: dict[str, Any] = {}
    for steps in options.steps or (int(world.config.sampling_steps),):
        academy = make_academy(options, console, world, out, steps)
        fixed = {
            name: list(group.real)
            for name, group in play_fixed(academy, options.policies, world).items()
        }
        agents: dict[str, Returns] = {}
        arms = arms_of(options, world)
        for name, arm in arms.items():
            agents[name] = _returns(academy, arm, options, world)
            by_steps[str(steps)] = compare(fixed, agents) | {
                "training": {n: None if a is None else asdict(a) for n, a in arms.items()}
            }
            document = write_benchmark(
                out / "lift.json",
                "lift",
                world=world.model_id,
                settings={**options.figures(), "own_steps": int(world.config.sampling_steps)},
                results={"by_steps": by_steps},
                seconds=time.perf_counter() - started,
            )
        results = document["results"]["by_steps"][str(steps)]
        console.print(lift_report.table(results, f"{world.model_id}, {steps} sampling steps"))
        if options.pictures and has_matplotlib(console):
            lift_report.plot(results, out / f"lift-{steps}.png")
    console.print(closing_words(document, out))
    return document


def arms_of(options: EvaluateOptions, world: Any) -> dict[str, Arm | None]:
    """How each group is trained; None: elsewhere, with ``--agents``."""
    budget = options.training
    starts, horizon = training_starts(world)
    ours = None if options.agents else Arm(starts, horizon, None, budget.steps)
    arms: dict[str, Arm | None] = {GIVEN if ours is None else IMAGINATION: ours}
    data = real_steps_of(options, world) if budget.real_data is None else budget.real_data
    if data:
        arms[SAME_DATA] = Arm(REAL, None, None, data)
    if budget.steps and budget.steps != data:
        arms[SAME_STEPS] = Arm(REAL, None, None, budget.steps)
    return arms


def real_steps_of(options: EvaluateOptions, world: Any) -> int:
    """Steps of the training split that the world was learned from.

    Raises:
        NFDError: if the data set is missing.
    """
    config = world.config
    store = open_store_for(find_dataset(config, options.data), config.frame_shape, config.source)
    return int(sum(len(store.episode(int(i)).rewards) for i in store.split("train")))


def compare(policies: Mapping[str, Returns], agents: Mapping[str, Returns]) -> dict[str, Any]:
    """Groups of agents beside policies that learn nothing, and the first group against all others.

    Args:
        policies: by name; :data:`RANDOM` must be among them. Some may look
            (:data:`agents.policies.LOOKING`).
        agents: groups of them, by name.

    Returns:
        ``groups``, by name: ``mean``, interquartile mean (``iqm``) and the returns. ``lift``, of
        the first group of agents over each other one: ``lead`` of the means; ``improvement``, the
        chance that an episode of it earns more. ``best_blind`` and, where policies look,
        ``best_looking``, chosen by the same episodes, which flatters them.
    """

    def best_of(names: Iterable[str]) -> str:
        return max(names, key=lambda name: np.mean(policies[name][0]))

    looking = [name for name in policies if name in LOOKING]
    best = {"best_blind": best_of(name for name in policies if name not in looking)}
    if looking:
        best["best_looking"] = best_of(looking)
    groups = {**agents, **{name: policies[name] for name in (RANDOM, *best.values())}}
    ours = next(iter(agents))
    return {
        **best,
        "groups": {
            name: {
                "agents": len(returns) if name in agents else None,
                # Agents drawn too where there are several; the IQM as rliable makes it, within
                # each agent.
                "mean": mean_interval(list(returns), resample_strata=len(returns) > 1),
                "iqm": iqm_interval(list(returns)),
                "returns": list(returns),
            }
            for name, returns in groups.items()
        },
        "of": ours,
        "lift": {
            name: {
                "lead": lead_interval(groups[ours], returns, 0),
                "improvement": improvement_interval(groups[ours], returns, 0),
            }
            for name, returns in groups.items()
            if name != ours
        },
    }


def _returns(academy: Academy, arm: Arm | None, options: EvaluateOptions, world: Any) -> Returns:
    if arm is None:
        played = academy.play_once(find_policies(options.agents, world.action_spec))
    else:
        played = [agent.played for agent in academy.agents(arm)]
    return [sides["real"].returns for sides in played]
