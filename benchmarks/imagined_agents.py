"""Agents that train in a world and then play it and the real game.

What Tier B of ``nfd evaluate`` stands on. An agent is trained, plays, and is written down before
the next one begins; a measurement that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from agents.arena import EVALUATION_SEED
from agents.environments import (
    imagined_vec_envs,
    real_name,
    real_vec_envs,
)
from agents.evaluation import Evaluation
from agents.policies import Policy
from agents.policy_io import load_policy
from agents.ppo import PPOTrainer
from agents.ppo_config import PPOConfig
from agents.progress import train_with_progress
from benchmarks.agent_records import REAL, Agent, Arm, read_played, write_played
from benchmarks.progress import counting
from benchmarks.ranking_episodes import play_all
from benchmarks.real_episodes import play_real
from benchmarks.reality import code_of, reality_of
from world_model.errors import NFDError
from world_model.storage import one_at_a_time

if TYPE_CHECKING:
    from benchmarks.training_budget import TrainingBudget

STREAMS = 48
"""Imagined episodes side by side."""


class Academy:
    """Trains agents and lets them play, keeping each in a folder of its own.

    Args:
        world: the world to train in.
        folder: where agents live, in ``agents-STEPS`` for each number of sampling steps and in
            ``agents-real``; those that it holds already are not trained again.
        budget: how long they train and play.
        sampling_steps: denoising steps per imagined frame, in training and in play.
        sampler: None for the world's own.
        console: is told how training goes.
        device: of world and network.
        precision: of the world's matrix products; None for float32.
        real_env: name of the real game, see :func:`benchmarks.reality.reality_of`.
        ppo: settings of PPO.
    """

    def __init__(
        self,
        world: Any,
        folder: Path,
        budget: TrainingBudget,
        *,
        sampling_steps: int,
        console: Console,
        sampler: str | None = None,
        device: str = "auto",
        precision: str | None = None,
        real_env: str | None = None,
        ppo: PPOConfig | None = None,
    ) -> None:
        self.world, self.folder, self.budget = world, folder, budget
        self._imagined = folder / f"agents-{sampling_steps}"
        self._seeds = range(EVALUATION_SEED, EVALUATION_SEED + budget.episodes)
        self.console, self.ppo = console, ppo or PPOConfig(n_steps=budget.rollout)
        # A rollout of the world's own takes what it likes of these.
        self.settings: dict[str, Any] = {
            "device": device,
            "sampling_steps": sampling_steps,
            "sampler": sampler,
            "precision": precision,
        }
        # Named only where it is: agents of before there was a choice are still known.
        self._real = reality_of(world, real_env)
        self._named = ({} if real_env is None else {"real_env": real_env}) | code_of(self._real)

    def agent(self, arm: Arm, seed: int) -> Agent:
        """The agent of that arm and seed; trained where it is not known yet.

        Raises:
            NFDError: if the real game cannot be played.
            StorageError: if it cannot be written down.
        """
        training = self._training(arm, seed)
        # Agents of another budget or world are others: their folders must not be continued.
        digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()[:8]
        imagined = arm.starts != REAL
        home = self._imagined if imagined else self.folder / f"agents-{REAL}"
        folder = home / f"{arm.name}-seed-{seed}-{digest}"
        path = folder.with_name(f"{folder.name}.json")
        key = training | (self._playing() if imagined else self._judging())
        known = read_played(path, key)
        if known is not None:
            return Agent(arm, seed, known)
        with one_at_a_time(folder):
            # Another run may have finished it while this one waited.
            played = read_played(path, key)
            if played is None:
                policy = self._train(arm, seed, folder)
                if imagined:
                    played = self.play([policy])[0]
                else:
                    played = {"real": play_real(policy, self._real, self._seeds, self.console)}
                write_played(path, key, played)
        return Agent(arm, seed, played)

    def agents(self, arm: Arm) -> list[Agent]:
        """One agent for each seed of the budget."""
        return [self.agent(arm, seed) for seed in self.budget.seeds]

    def play_once(self, policies: Sequence[Policy]) -> list[dict[str, Evaluation]]:
        """As :meth:`play`; those who are written down already do not play again."""
        paths = [self._imagined / f"policy-{_file_name(policy.name)}.json" for policy in policies]
        keys = [{"policy": policy.name, **self._playing()} for policy in policies]
        known = [read_played(path, key) for path, key in zip(paths, keys, strict=True)]
        missing = [i for i, played in enumerate(known) if played is None]
        if missing:
            fresh = self.play([policies[i] for i in missing])
            for i, played in zip(missing, fresh, strict=True):
                write_played(paths[i], keys[i], played)
                known[i] = played
        return [played for played in known if played is not None]

    def play(self, policies: Sequence[Policy]) -> list[dict[str, Evaluation]]:
        """What policies earn in both games, whole episodes with the same seeds for all."""
        total = len(policies) * len(self._seeds)
        with counting(self.console, "imagined episodes", total) as tell:
            imagined = play_all(
                policies, self.world, self._seeds, streams=STREAMS,
                on_episode=lambda: tell(1), **self.settings,
            )  # fmt: skip
        real = [play_real(policy, self._real, self._seeds, self.console) for policy in policies]
        return [{"real": a, "imagined": b} for a, b in zip(real, imagined, strict=True)]

    def _train(self, arm: Arm, seed: int, folder: Path) -> Policy:
        if arm.starts == REAL:
            make_envs = real_vec_envs(self._real)
            source: dict[str, Any] = {"real_environment": real_name(self._real)}
        else:
            if arm.starts == "moments" and getattr(self.world, "moments", None) is None:
                raise NFDError(f"{self.world.model_id} brings no moments to start from.")
            make_envs = imagined_vec_envs(
                self.world,
                contexts=arm.starts,
                max_episode_steps=arm.horizon,
                max_uncertainty=arm.max_uncertainty,
                **self.settings,
            )
            source = {"world": self.world.model_id, **asdict(arm)}
        trainer = PPOTrainer(
            make_envs,
            self.world.action_spec,
            folder,
            config=self.ppo,
            seed=seed,
            source=source,
            device=self.settings["device"],
            # Both kinds of agents look through the same eyes, which saw the recorded frames.
            outcome=getattr(self.world, "outcome", None),
        )
        label = f"{arm.name}, seed {seed}"
        try:
            train_with_progress(trainer, arm.steps, console=self.console, label=label)
            return load_policy(trainer.share(folder / "policy"), name=label)
        finally:
            trainer.close()

    def _training(self, arm: Arm, seed: int) -> dict[str, Any]:
        """All that decides what becomes of an agent: of real steps, only the world's eyes."""
        real = arm.starts == REAL
        return {
            **({"world": self.world.model_id, **self._named} if real else self._imagination()),
            "arm": asdict(arm),
            "seed": seed,
            "ppo": asdict(self.ppo),
        }

    def _judging(self) -> dict[str, Any]:
        """All that decides what a policy earns in the real game."""
        return {
            "episodes": self.budget.episodes,
            "first_seed": EVALUATION_SEED,
            **self._named,
        }

    def _playing(self) -> dict[str, Any]:
        """All that decides what a policy earns in both games."""
        return {**self._imagination(), **self._judging()}

    def _imagination(self) -> dict[str, Any]:
        """The world, and what of its settings decides what it shows."""
        told = {name: self.settings[name] for name in ("sampling_steps", "sampler")}
        if self.settings["precision"] is not None:
            told["precision"] = self.settings["precision"]
        return {"world": self.world.model_id, **told}


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
