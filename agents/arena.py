"""The arena: policies play the real game and the imagined one, and every result is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from rich.console import Console

from agents.environments import (
    MakeEnv,
    Real,
    real_action_spec,
    real_environment,
    real_name,
    source_of,
)
from agents.evaluation import Evaluation, evaluate, evaluate_vector
from agents.policies import BASELINES, GRADED, Policy, available, make_policy
from agents.policy_io import load_policy, policy_id
from agents.progress import episode_progress
from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, ConfigError, NFDError

EVALUATION_SEED = 1_000_000
"""Seed of the first evaluation episode, far from those that data sets are recorded with."""


class Arena:
    """A real game, an imagined one, or both, in which policies play the same episodes.

    Args:
        console: where progress is shown.
        world: a world, or None to play for real only.
        real: name of the real environment; default: the one that ``world`` was learned from.
        streams: real games side by side.
        device: for the world.
        sampling_steps: denoising steps per imagined frame; default: the world's own.
        precision: of the imagined world's matrix products: ``float32``, ``bfloat16`` or ``auto``;
            worlds that bring a rollout of their own have no such choice.
    """

    def __init__(
        self,
        console: Console,
        *,
        world: Any = None,
        real: str | None = None,
        streams: int = 4,
        device: str = "auto",
        sampling_steps: int | None = None,
        precision: str = "auto",
    ) -> None:
        if world is None and real is None:
            raise NFDError("an arena needs a world, a real environment, or both.")
        self.console, self.world, self._real = console, world, real
        self.streams = streams
        self.settings: dict[str, Any] = {
            "device": device,
            "sampling_steps": sampling_steps,
            "precision": None if hasattr(world, "make_rollout") else precision,
        }
        self.real: list[Evaluation] = []
        self.imagined: list[Evaluation] = []

    @property
    def real_name(self) -> str:
        """Name of the real environment.

        Raises:
            NFDError: if the world does not say what it was learned from.
        """
        return real_name(self._source)

    @property
    def make_real(self) -> MakeEnv:
        """Makes the real environment.

        Raises:
            NFDError: if the world does not say what it was learned from.
        """
        return real_environment(self._source)

    @property
    def _source(self) -> Real:
        return self._real or source_of(self.world)

    @property
    def action_spec(self) -> ActionSpec:
        """The actions of both."""
        if self.world is not None:
            return self.world.action_spec
        return real_action_spec(self._source)

    def check_real(self) -> None:
        """Starts and ends the real game once: better to fail now than after a training.

        Raises:
            NFDError: if the game cannot be played, with what to install.
        """
        env = self.make_real()
        shown = env.observation_space.shape
        env.close()
        if self.world is not None and shown != tuple(self.world.config.frame_shape):
            raise ConfigError(
                f"the real game shows frames of shape {shown}, those of {self.world.model_id} have "
                f"{tuple(self.world.config.frame_shape)}: it was trained on resized frames. Record "
                "at the world's size, or give --episodes 0."
            )

    def play_real(self, policy: Policy, episodes: int) -> Evaluation:
        """Lets ``policy`` play the real game; every policy meets the same episode seeds."""
        with episode_progress(self.console, f"{policy.name}, real", episodes) as on_episode:
            evaluation = evaluate(
                policy,
                self.make_real,
                range(EVALUATION_SEED, EVALUATION_SEED + episodes),
                streams=self.streams,
                environment=f"{self.real_name} (real)",
                on_episode=on_episode,
            )
        self.real.append(evaluation)
        return evaluation

    def play_imagined(self, policy: Policy, episodes: int) -> Evaluation:
        """Lets ``policy`` play in the imagined world."""
        envs = gym.make_vec(
            "NFD-World-v0", num_envs=min(episodes, 32), world=self.world, **self.settings
        )
        try:
            with episode_progress(self.console, f"{policy.name}, imagined", episodes) as on_episode:
                evaluation = evaluate_vector(
                    policy,
                    envs,
                    episodes,
                    seed=EVALUATION_SEED,
                    environment=f"{self.world.model_id} (imagined)",
                    on_episode=on_episode,
                )
        finally:
            envs.close()
        self.imagined.append(evaluation)
        return evaluation


def load_world(name: str, device: str) -> Any:
    """The world called ``name`` (or made by ``module:function``), ready to imagine on ``device``.

    Raises:
        WorldNotFoundError: if there is none.
        WorldFormatError: if its folder is damaged.
    """
    from nfd_env.loading import load_rollout

    return load_rollout(name, device)[0]


def find_policies(names: Sequence[str], action_spec: ActionSpec) -> list[Policy]:
    """Scripted policies and folders of trained ones; ``baselines`` and ``graded`` name several.

    Raises:
        ActionError: if a name is neither.
    """
    labels = action_spec.groups[0].labels
    groups = {
        name: available(group, action_spec.space, labels)
        for name, group in (("baselines", BASELINES), ("graded", GRADED))
    }
    expanded = [n for name in names for n in groups.get(name, (name,))]
    policies: list[Policy] = []
    for name in expanded:
        if Path(name).is_dir():
            policies.append(load_policy(name, name=policy_id(name)))
            continue
        try:
            policies.append(make_policy(name, action_spec.space, labels))
        except ActionError as unknown:
            try:
                policies.append(load_policy(name, name=policy_id(name)))
            except NFDError as error:
                raise ActionError(
                    f"{name!r} is neither a blind policy nor the folder or name of a trained one: "
                    f"{unknown}"
                ) from error
    return policies
