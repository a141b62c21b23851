"""``nfd agent``: train PPO in imagination (or on real steps), evaluate it in the real game.

What was trained plays the real game beside blind policies of graded skill, in the same evaluation
and on the same episode seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from gymnasium import spaces
from rich.console import Console

from agents.arena import EVALUATION_SEED, Arena, find_policies, load_world
from agents.environments import imagined_vec_envs, real_vec_envs, training_starts
from agents.imitation import ImitationConfig
from agents.policies import BLIND, Policy, available
from agents.policy_io import load_policy
from agents.ppo import PPOTrainer
from agents.ppo_config import PPOConfig
from agents.progress import imitate_with_progress, train_with_progress
from agents.results import (
    best_sweep,
    compare,
    describe_comparison,
    evaluation_table,
    write_results,
)
from agents.statistics import rank_agreement
from world_model.data import open_store_for
from world_model.errors import ConfigError, NFDError

DEFAULT = "doom-take-cover"
"""World, and real game, where none is given."""


@dataclass(frozen=True)
class AgentOptions:
    """Trains PPO in an imagined world, then evaluates it in the real game.

    A run that was interrupted goes on when the same command is given again.
    """

    world: str | None = None
    """World to train in: a name, a folder or a hub id (default: doom-take-cover). With --policy:
    the world to play in besides the real game."""
    real: str | None = None
    """Trains on real steps of this environment instead, the model-free baseline: a preset,
    module:function, or the folder of a data set or world that was recorded from it."""
    policy: tuple[str, ...] = ()
    """Trains nothing and evaluates these: noop, uniform, sweep-20, an action's name, the folder of
    a trained policy, or `baselines` for all the blind ones."""
    timesteps: int = 1_000_000
    """Environment steps to train for, in total."""
    minutes: float | None = None
    """Ends each training after so many minutes of wall-clock time, if that comes first."""
    seeds: tuple[int, ...] = (0,)
    """One agent is trained for each."""
    start_from: str | None = None
    """Folder or name of a trained policy to begin with, instead of a fresh network."""
    imitate: Path | None = None
    """Folder of a data set: before PPO a fresh network imitates its best episodes."""
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    """How."""
    episodes: int = 50
    """Episodes in the real game for each policy; 0 leaves the real game out."""
    imagined_episodes: int | None = None
    """Episodes in the imagined world for each policy (default: as many as real ones with --policy
    and --world, else none)."""
    baselines: tuple[str, ...] | None = None
    """Blind policies that play beside what was trained (default: uniform and sweeps, where actions
    are Discrete)."""
    out: Path = Path("runs/agent")
    """Folder for policies, curves, logs and results.json."""
    streams: int = 4
    """Real games side by side in an evaluation; does not change the result."""
    precision: str = "auto"
    """Of the imagined world: float32, bfloat16, or auto for the faster of the two here."""
    sampling_steps: int | None = None
    """Denoising steps per imagined frame (default: the world's own)."""
    pessimism: float = 0.0
    """Added to the logit of termination in imagined training: above 0 episodes end sooner."""
    contexts: str | None = None
    """Where imagined training episodes start: `bundled`, where recorded ones start; `moments`, in
    the midst of them; or the folder of a data set, from each of its moments (default: moments
    where the world brings some, else bundled)."""
    horizon: int | None = None
    """Cuts imagined training episodes off after so many steps; the value of what would have
    followed is estimated, not lost (default: the world's own horizon, but 10 from moments, over
    which a world stays true)."""
    device: str = "auto"
    """For the world and the agent's network: auto, cpu or cuda."""
    keep_every: int | None = None
    """Also keeps a copy of the policy every so many timesteps."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """Settings of PPO."""


def make_arena(options: AgentOptions, console: Console) -> Arena:
    """Where the options say that policies train and play.

    Raises:
        NFDError: if the options contradict each other, or the real game cannot be played.
    """
    if options.world and options.real and not options.policy:
        raise NFDError("--world trains in imagination, --real on real steps: give one of them.")
    if options.real and not options.policy and (options.pessimism or options.ppo.shaping_weight):
        raise NFDError("--pessimism and --ppo.shaping-weight are for imagination, not for --real.")
    if not math.isfinite(options.pessimism):
        raise NFDError(f"--pessimism must be a finite number, not {options.pessimism}.")
    if options.episodes < 0 or not options.seeds:
        raise NFDError("--episodes must not be negative, and --seeds not be empty.")
    world_name, real = options.world, options.real
    if not world_name and not real:
        world_name, real = (None, DEFAULT) if options.policy else (DEFAULT, None)
    arena = Arena(
        console,
        world=load_world(world_name, options.device) if world_name else None,
        real=real,
        streams=options.streams,
        device=options.device,
        sampling_steps=options.sampling_steps,
        precision=options.precision,
    )
    if isinstance(arena.action_spec.space, spaces.Dict) and not options.policy:
        raise ConfigError(
            f"PPO cannot take the actions of {getattr(arena.world, 'model_id', options.real)}, a "
            "Dict. Train with make_sb3_vec_env(..., action_mode=...) if the world has other modes."
        )
    if options.episodes or options.real:
        arena.check_real()
    return arena


def train(options: AgentOptions, arena: Arena) -> list[Policy]:
    """Trains one agent for each seed."""
    source: dict[str, Any]
    if options.real:
        make_envs, source = real_vec_envs(options.real), {"real_environment": options.real}
    else:
        contexts, horizon = training_starts(arena.world, options.contexts, options.horizon)
        make_envs = imagined_vec_envs(
            arena.world,
            contexts=contexts,
            max_episode_steps=horizon,
            pessimism=options.pessimism or None,
            **arena.settings,
        )
        source = {"world": arena.world.model_id, "starts": contexts, "horizon": horizon}
        if options.pessimism:
            source["pessimism"] = options.pessimism
    agents: list[Policy] = []
    for seed in options.seeds:
        folder, label = options.out / f"seed-{seed}", f"PPO, seed {seed}"
        trainer = PPOTrainer(
            make_envs,
            arena.action_spec,
            folder,
            config=options.ppo,
            seed=seed,
            source=source,
            start_from=options.start_from,
            device=options.device,
            outcome=None if options.real else getattr(arena.world, "outcome", None),
        )
        try:
            if options.imitate and not trainer.timesteps and "imitated" not in trainer.source:
                done = imitate_with_progress(
                    trainer,
                    open_store_for(
                        options.imitate,
                        trainer.frame_shape,
                        None if arena.world is None else arena.world.config.source,
                    ),
                    options.imitation,
                    console=arena.console,
                    label=label,
                )
                arena.console.print(f"{label}: {done.describe()}")
            train_with_progress(
                trainer,
                options.timesteps,
                console=arena.console,
                label=label,
                minutes=options.minutes,
                keep_every=options.keep_every,
            )
        except KeyboardInterrupt:
            arena.console.print(f"Saved in {folder}; the same command goes on from there.")
            raise
        finally:
            trainer.close()
        arena.console.print(f"{label}: {trainer.curve.describe()}")
        # What plays is exactly what can be passed on: the fp16 copy.
        agents.append(load_policy(trainer.share(folder / "policy"), name=label))
    return agents


def run(options: AgentOptions, console: Console) -> dict[str, Any]:
    """Does what the options say; returns what ``results.json`` holds, but for the versions."""
    started = time.perf_counter()
    arena = make_arena(options, console)
    names: Sequence[str] | None = options.policy or options.baselines
    if names is None:
        spec = arena.action_spec
        names = available(BLIND, spec.space, spec.groups[0].labels)
    blind = find_policies(names, arena.action_spec)
    agents = [] if options.policy else train(options, arena)

    imagined_episodes = options.imagined_episodes
    if imagined_episodes is None:
        imagined_episodes = options.episodes if options.policy and options.world else 0
    for policy in [*blind, *agents]:
        if options.episodes:
            arena.play_real(policy, options.episodes)
        if imagined_episodes and arena.world is not None:
            arena.play_imagined(policy, imagined_episodes)

    real, imagined = arena.real, arena.imagined
    results: dict[str, Any] = {
        "world": getattr(arena.world, "model_id", None),
        "first_evaluation_seed": EVALUATION_SEED,
        "evaluations": [evaluation.to_dict() for evaluation in [*real, *imagined]],
    }
    for evaluations in filter(None, (real, imagined)):
        console.print(evaluation_table(evaluations, title=evaluations[0].environment))
    if agents and real:
        results["agents"] = compare(real[len(blind) :], best_sweep(real))
        console.print(describe_comparison(results["agents"]))
    if len(real) > 1 and len(imagined) == len(real):
        agreement = rank_agreement([e.returns for e in real], [e.returns for e in imagined])
        results["rank_agreement"] = agreement.to_json()
        console.print(
            f"Spearman between real and imagined mean returns of {len(real)} policies: {agreement}"
        )
    results["seconds"] = round(time.perf_counter() - started, 1)
    path = options.out / "results.json"
    write_results(path, "agent", results)
    console.print(f"Results: {path}")
    return results


def main(argv: list[str]) -> int:
    """Entry point of ``nfd agent``."""
    run(tyro.cli(AgentOptions, args=argv, prog="nfd agent"), Console())
    return 0
