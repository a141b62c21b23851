"""Players for any action space: they know nothing of the game, so they must try everything.

Each draws its habits once an episode. Actions are drawn group by group (each key, each axis of a
mouse), so that a key can be held while the mouse moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from agents.collecting.behaviour import BehaviourPolicy, Switch, draw_action, draw_group
from world_model.action_spaces import ActionGroup
from world_model.action_spec import ActionSpec
from world_model.errors import ConfigError


class RandomPlayer:
    """A uniformly random action at every step."""

    name = "random"

    def __init__(self, spec: ActionSpec, rng: np.random.Generator) -> None:
        self.spec, self.rng = spec, rng

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> Any:
        """A new action."""
        return self.spec.decode(draw_action(self.spec, self.rng))


class StickyPlayer:
    """Holds each group of the action for a while: a drawn time, or until the dice say otherwise.

    Args:
        spec: the actions.
        rng: the dice.
        repeat: probability at each step that a group is kept; None: for a drawn number of steps,
            up to ``longest``, as many short ones as long ones.
        longest: see ``repeat``.
        biased: whether some choices of a group are liked better than others, as drawn at the
            start: a walk that turns left as often as right goes nowhere.
    """

    def __init__(
        self,
        spec: ActionSpec,
        rng: np.random.Generator,
        *,
        repeat: float | None = None,
        longest: int = 32,
        biased: bool = False,
    ) -> None:
        self.spec, self.rng, self.repeat, self.longest = spec, rng, repeat, longest
        kind = "runs" if repeat is None else "sticky"
        setting = longest if repeat is None else f"{repeat:.2f}"
        self.name = f"{'biased' if biased else kind}-{setting}"
        self._shares = [
            rng.dirichlet(np.full(group.size, 0.7))
            if biased and group.kind == "categorical"
            else None
            for group in spec.groups
        ]
        self._held = [self._draw(i) for i in range(len(spec.groups))]
        self._left = [self._duration() for _ in spec.groups]

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> Any:
        """The groups that are held, and new ones for those whose time is over."""
        action = self.spec.decode(np.concatenate(self._held))
        for i in range(len(self._held)):
            self._left[i] -= 1
            if self._left[i] <= 0:
                self._held[i], self._left[i] = self._draw(i), self._duration()
        return action

    def _duration(self) -> int:
        if self.repeat is not None:
            return int(self.rng.geometric(1 - self.repeat))
        return int(np.exp(self.rng.uniform(0, np.log(self.longest + 1))))

    def _draw(self, i: int) -> np.ndarray:
        group = self.spec.groups[i]
        shares = self._shares[i]
        if shares is not None:
            return np.array([self.rng.choice(group.size, p=shares)], np.float32)
        values = draw_group(group, self.rng)
        return values if group.kind == "categorical" else _rest(group, values, self.rng)


def _rest(group: ActionGroup, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers drawn uniformly, half of the time drawn towards zero: a mouse mostly rests."""
    low, high = (np.asarray(bound, np.float32) for bound in (group.low, group.high))
    zero = np.clip(np.zeros_like(low), low, high)
    if group.whole or rng.random() < 0.5:
        return values
    share = np.float32(rng.choice([0.0, 0.1, 0.3]))
    return np.clip(zero + share * (values - zero), low, high)


class CustomPlayer:
    """What a function of the user's made: called with the frame and the environment's ``info``."""

    def __init__(self, name: str, player: Any) -> None:
        self.name = name
        self._act: Callable[[np.ndarray, Mapping[str, Any]], Any] = getattr(player, "act", player)
        if not callable(self._act):
            raise ConfigError(
                f"--policy {name}: the function must return a callable (frame, info) -> action, "
                f"not {player!r}. It is called once an episode, with a numpy Generator."
            )

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> Any:
        """Its action."""
        return self._act(frame, info)


MIX: dict[str, float] = {
    "random": 0.15,
    "sticky": 0.25,
    "runs": 0.25,
    "biased": 0.2,
    "switch": 0.15,
}
"""Shares of the episodes."""


def draw_player(spec: ActionSpec, rng: np.random.Generator, kind: str = "mix") -> BehaviourPolicy:
    """Draws the player of one episode.

    Args:
        spec: the actions.
        rng: the random generator of the episode.
        kind: ``mix``, or a key of :data:`MIX` to draw that kind only.
    """
    if kind == "mix":
        kind = str(rng.choice(list(MIX), p=list(MIX.values())))
    if kind == "random":
        return RandomPlayer(spec, rng)
    if kind == "sticky":
        return StickyPlayer(spec, rng, repeat=float(rng.choice([0.5, 0.7, 0.8, 0.9, 0.95])))
    if kind == "runs":
        return StickyPlayer(spec, rng, longest=int(rng.choice([8, 16, 32])))
    if kind == "biased":
        return StickyPlayer(spec, rng, longest=int(rng.choice([8, 16, 32])), biased=True)
    if kind == "switch":
        kinds = rng.choice(["random", "sticky", "runs", "biased"], size=4)
        parts = [draw_player(spec, rng, str(part)) for part in kinds]
        return Switch(parts, int(rng.integers(5, 41)), rng)
    raise ValueError(f"unknown kind of player {kind!r}; choose mix or one of {', '.join(MIX)}.")
