"""Agents that train in a world and then play it and the real game: one JSON document for each.

What Tier B of ``nfd evaluate`` stands on. An agent is trained, plays, and is written down before
the next one begins; a measurement that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from agents.arena import EVALUATION_SEED
from agents.environments import (
    imagined_vec_envs,
    real_environment,
    real_name,
    real_vec_envs,
)
from agents.evaluation import Evaluation, evaluate
from agents.policies import Policy
from agents.policy_io import load_policy
from agents.ppo import PPOTrainer
from agents.ppo_config import PPOConfig
from agents.progress import train_with_progress
from benchmarks.progress import counting
from benchmarks.ranking_episodes import play_all
from benchmarks.reality import reality_of
from world_model.errors import NFDError
from world_model.storage import atomic_file

if TYPE_CHECKING:
    from benchmarks.training_budget import TrainingBudget

REAL = "real"
"""Where an agent of the model-free baseline starts: in the real game."""
STREAMS = 48
"""Imagined episodes side by side."""


@dataclass(frozen=True)
class Arm:
    """One way to train agents, of which there are several seeds."""

    starts: str
    """``moments`` or ``bundled`` (where imagined episodes start), or ``real``: no imagination."""
    horizon: int | None = None
    """Steps after which imagined episodes are cut off; None: the world's own horizon."""
    max_uncertainty: float | None = None
    """Uncertainty beyond which they are; None: no such limit."""
    steps: int = 0
    """Environment steps to train for."""

    @property
    def name(self) -> str:
        """For folders and tables: ``moments-15``, ``bundled-full-limited``, ``real-10000``."""
        if self.starts == REAL:
            return f"{REAL}-{self.steps}"
        limited = "" if self.max_uncertainty is None else "-limited"
        return f"{self.starts}-{self.horizon or 'full'}{limited}"


@dataclass(frozen=True)
class Agent:
    """A finished agent and what it earned."""

    arm: Arm
    """How it was trained."""
    seed: int
    """Of its training."""
    played: dict[str, Evaluation] = field(default_factory=dict)
    """``real`` and ``imagined``: whole episodes from their beginning, without a limit of trust."""


class Academy:
    """Trains agents and lets them play, keeping each in a folder of its own.

    Args:
        world: the world to train in.
        folder: where agents live; those that it holds already are not trained again.
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
        self.console, self.ppo = console, ppo or PPOConfig(n_steps=budget.rollout)
        # A rollout of the world's own takes what it likes of these.
        self.settings: dict[str, Any] = {
            "device": device,
            "sampling_steps": sampling_steps,
            "sampler": sampler,
            "precision": precision,
        }
        # Named only where it is: agents of before there was a choice are still known.
        self._named = {} if real_env is None else {"real_env": real_env}
        self._real = reality_of(world, real_env)

    def agent(self, arm: Arm, seed: int) -> Agent:
        """The agent of that arm and seed; trained where it is not known yet.

        Raises:
            NFDError: if the real game cannot be played.
            StorageError: if it cannot be written down.
        """
        training = self._training(arm, seed)
        # Agents of another budget or world are others: their folders must not be continued.
        digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()[:8]
        folder = self.folder / f"{arm.name}-seed-{seed}-{digest}"
        path, key = folder.with_name(f"{folder.name}.json"), {**training, **self._playing()}
        known = read_agent(path, key)
        if known is not None:
            return Agent(arm, seed, known)
        policy = self._train(arm, seed, folder)
        agent = Agent(arm, seed, self.play([policy])[0])
        write_agent(path, key, agent.played)
        return agent

    def agents(self, arm: Arm) -> list[Agent]:
        """One agent for each seed of the budget."""
        return [self.agent(arm, seed) for seed in self.budget.seeds]

    def play_once(self, policies: Sequence[Policy]) -> list[dict[str, Evaluation]]:
        """As :meth:`play`; those who are written down already do not play again."""
        paths = [self.folder / f"policy-{_file_name(policy.name)}.json" for policy in policies]
        keys = [{"policy": policy.name, **self._playing()} for policy in policies]
        known = [read_agent(path, key) for path, key in zip(paths, keys, strict=True)]
        missing = [i for i, played in enumerate(known) if played is None]
        if missing:
            fresh = self.play([policies[i] for i in missing])
            for i, played in zip(missing, fresh, strict=True):
                write_agent(paths[i], keys[i], played)
                known[i] = played
        return [played for played in known if played is not None]

    def play(self, policies: Sequence[Policy]) -> list[dict[str, Evaluation]]:
        """What policies earn in both games, whole episodes with the same seeds for all."""
        seeds = range(EVALUATION_SEED, EVALUATION_SEED + self.budget.episodes)
        total = len(policies) * len(seeds)
        with counting(self.console, "imagined episodes", total) as tell:
            imagined = play_all(
                policies, self.world, seeds, streams=STREAMS,
                on_episode=lambda: tell(1), **self.settings,
            )  # fmt: skip
        real = []
        for policy in policies:
            with counting(self.console, f"{policy.name}, real", len(seeds)) as tell:
                real.append(
                    evaluate(
                        policy, real_environment(self._real), seeds, streams=4,
                        environment=f"{real_name(self._real)} (real)",
                        on_episode=lambda *_, tell=tell: tell(1),
                    )
                )  # fmt: skip
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
        """All that decides what becomes of an agent."""
        return {
            **self._imagination(),
            "arm": asdict(arm),
            "seed": seed,
            "ppo": asdict(self.ppo),
            **(self._named if arm.starts == REAL else {}),
        }

    def _playing(self) -> dict[str, Any]:
        """All that decides what a policy earns."""
        return {
            **self._imagination(),
            "episodes": self.budget.episodes,
            "first_seed": EVALUATION_SEED,
            **self._named,
        }

    def _imagination(self) -> dict[str, Any]:
        """The world, and what of its settings decides what it shows."""
        told = {name: self.settings[name] for name in ("sampling_steps", "sampler")}
        if self.settings["precision"] is not None:
            told["precision"] = self.settings["precision"]
        return {"world": self.world.model_id, **told}


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def write_agent(path: Path, key: dict[str, Any], played: dict[str, Evaluation]) -> None:
    """Writes down what an agent earned.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    parts = {
        where: {**e.to_dict(), "terminated": e.terminated.tolist()} for where, e in played.items()
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps({"key": key, "played": parts}, indent=1) + "\n")


def read_agent(path: Path, key: dict[str, Any]) -> dict[str, Evaluation] | None:
    """What was written down of an agent; None where there is nothing, or of other settings."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if content.get("key") != json.loads(json.dumps(key)):
        return None
    return {
        where: Evaluation(
            part["policy"],
            part["environment"],
            np.array(part["returns"], np.float64),
            np.array(part["lengths"], np.int64),
            np.array(part["terminated"], bool),
            part["seconds"],
        )
        for where, part in content["played"].items()
    }
