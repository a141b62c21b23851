"""Whom ``--policy`` names: players by kind, trained policies, functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from agents.collecting import behaviour, players, skilled
from agents.collecting.behaviour import Agent, BehaviourPolicy, draw_policy
from agents.policies import Policy
from world_model.action_spec import ActionSpec
from world_model.errors import CheckpointError

DODGING = {"stay", "left", "right"}
"""Actions of the games that :mod:`agents.collecting.behaviour` knows how to play."""


@dataclass(frozen=True)
class Choice:
    """Draws the player of each episode; picklable."""

    names: tuple[str, ...]
    """Kinds of players, folders or archives of policies, ``module:function``."""
    action_spec: ActionSpec
    """The actions of the game."""
    frame_shape: tuple[int, int, int]
    """Its frames."""
    threat: int | None = None
    """Class of the objects to evade, or to aim at, in ``info["labels"]``, where there is one."""

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds of players that this game has."""
        known = (self._skill,) if self._skill is not None else ()
        kinds = ("mix", *(behaviour.MIX if self._dodging else ()), *known, *players.MIX)
        return list(dict.fromkeys(kinds))

    @property
    def _skill(self) -> str | None:
        space = self.action_spec.space
        if not isinstance(space, spaces.Discrete) or space.start != 0:
            return None
        return skilled.skill_for(self.action_spec.groups[0].labels, self.threat)

    @property
    def _dodging(self) -> bool:
        space = self.action_spec.space
        labels = self.action_spec.groups[0].labels
        return isinstance(space, spaces.Discrete) and set(labels) == DODGING

    def __call__(self, rng: np.random.Generator) -> BehaviourPolicy:
        """The player of one episode: each name is as likely as the others."""
        names = self.names
        name = names[int(rng.integers(len(names)))] if len(names) > 1 else names[0]
        if self._dodging and name in ("mix", *behaviour.MIX):
            return draw_policy(rng, self.action_spec.groups[0].labels, self.threat, name)
        if name == "mix" and self._skill is not None and rng.random() < skilled.SHARE:
            name = self._skill
        if name == self._skill:
            labels = self.action_spec.groups[0].labels
            return skilled.draw_skilled(name, labels, self.threat, rng)
        if name in self.kinds:
            return players.draw_player(self.action_spec, rng, name)
        if ":" in name:
            from nfd_env.loading import load_object

            return players.CustomPlayer(name, load_object(name)(rng))
        epsilon = float(rng.choice([0.0, 0.05, 0.2]))
        return Agent(self._policy(name), self.action_spec.space, epsilon, rng)

    def identify(self) -> dict[str, str]:
        """What is in the policies among the names: going on with others is refused.

        Raises:
            CheckpointError: if one is missing, or does not fit the game.
            NFDError: if a function cannot be loaded.
        """
        found = {}
        for name in self.names:
            if name in self.kinds:
                continue
            if ":" in name:
                from nfd_env.loading import load_object

                load_object(name)
            elif name.endswith(".zip"):
                from agents.sb3_zip import zip_id

                found[name] = zip_id(Path(name))
                self._policy(name)
            else:
                found[name] = self._folder_id(name)
        return found

    def _folder_id(self, name: str) -> str:
        from agents.policy_io import find_policy, load_config, policy_id

        try:
            config = load_config(find_policy(name))
        except CheckpointError as error:
            raise CheckpointError(f"{error} Kinds of players: {', '.join(self.kinds)}.") from error
        if config.frame_shape != self.frame_shape or config.spec.space != self.action_spec.space:
            raise CheckpointError(
                f"policy {name!r} plays {config.spec.space} on frames of {config.frame_shape}, not "
                f"{self.action_spec.space} on {self.frame_shape}."
            )
        return policy_id(name)

    def _policy(self, name: str) -> Policy:
        return _load(name, self.action_spec, self.frame_shape)


@cache
def _load(name: str, spec: ActionSpec, frame_shape: tuple[int, int, int]) -> Policy:
    # Sampled actions show more; for other spaces only the likeliest one is to be had.
    settings: dict[str, Any] = {"deterministic": not isinstance(spec.space, spaces.Discrete)}
    if name.endswith(".zip"):
        from agents.sb3_zip import load_zip

        return load_zip(Path(name), spec, frame_shape, **settings)
    from agents.policy_io import load_policy

    return load_policy(name, **settings)
