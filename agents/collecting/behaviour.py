"""Behaviour policies: what players of recordings are, and those of games of dodging.

A world is only as good as the situations its data covers, so every episode is played by a
player of its own, drawn from a mix (:func:`draw_policy`). The choice and the player's dice depend
on nothing but the random generator of the episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from agents.policies import Policy
from world_model.action_spaces import ActionGroup
from world_model.action_spec import ActionSpec


class BehaviourPolicy(Protocol):
    """Chooses the actions of one episode."""

    name: str
    """Name and settings, stored with the episode."""

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> Any:
        """The action after seeing ``frame`` uint8 (H, W, 3) and the environment's ``info``."""
        ...


class Constant:
    """The same action for ever."""

    def __init__(self, action: int, name: str) -> None:
        self.action, self.name = action, name

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """The action."""
        return self.action


class Sticky:
    """A uniformly random action, kept with probability ``stickiness`` at every step."""

    def __init__(self, actions: int, stickiness: float, rng: np.random.Generator) -> None:
        self.actions, self.stickiness, self.rng = actions, stickiness, rng
        self.action = int(rng.integers(actions))
        self.name = "uniform" if stickiness == 0 else f"sticky-{stickiness:.2f}"

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """The last action, or a new one."""
        if self.rng.random() >= self.stickiness:
            self.action = int(self.rng.integers(self.actions))
        return self.action


class Sweep:
    """Runs through ``sequence``, about ``period`` steps each: left, right, left, ..."""

    def __init__(
        self,
        sequence: Sequence[int],
        period: float,
        jitter: float,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.sequence, self.period, self.jitter, self.rng = tuple(sequence), period, jitter, rng
        self.name = f"sweep-{period:.0f}" + (f"~{jitter:.1f}" if jitter else "")
        self.at = 0
        self.left = self._duration()

    def _duration(self) -> int:
        scale = self.rng.uniform(1 - self.jitter, 1 + self.jitter) if self.rng is not None else 1
        return max(1, round(self.period * scale))

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """The current entry of the sequence."""
        if self.left == 0:
            self.at = (self.at + 1) % len(self.sequence)
            self.left = self._duration()
        self.left -= 1
        return self.sequence[self.at]


class Evade:
    """Sidesteps the nearest fireball by the game's own labels; sweeps while there is none.

    It lives longer than any blind player, and so shows the crowded late game that a good agent
    will meet. A share ``epsilon`` of its actions is random.
    """

    def __init__(
        self, left: int, right: int, threat: int, epsilon: float, rng: np.random.Generator
    ) -> None:
        self.moves, self.threat, self.epsilon, self.rng = (left, right), threat, epsilon, rng
        self.idle = Sweep((left, right), float(rng.uniform(14, 28)), 0.2, rng)
        self.near = int(rng.choice([6, 10, 14]))  # rows that a fireball covers when it is close
        self.flee, self.hold = left, 0
        self.name = f"evade-{epsilon:.2f}"

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> int:
        """Away from the nearest fireball, if one is close."""
        idle = self.idle.act(frame, info)
        if self.rng.random() < self.epsilon:
            return int(self.rng.integers(3))
        columns = (info["labels"] == self.threat).sum(axis=0)
        if self.hold > 0:
            self.hold -= 1
            return self.flee
        if columns.max() < self.near:
            return idle
        nearest = int(columns.argmax())
        self.flee = self.moves[0] if nearest >= len(columns) // 2 else self.moves[1]
        self.hold = int(self.rng.integers(0, 4))
        return self.flee


class Agent:
    """A policy of :mod:`agents.policies`, with a share ``epsilon`` of uniformly random actions."""

    def __init__(
        self,
        policy: Policy,
        action_space: spaces.Space[Any],
        epsilon: float,
        rng: np.random.Generator,
    ) -> None:
        self.policy, self.space, self.epsilon, self.rng = policy, action_space, epsilon, rng
        self.spec = ActionSpec.from_space(action_space)
        self.state = policy.begin([int(rng.integers(2**31))])
        self.name = f"{policy.name}-{epsilon:.2f}"

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> Any:
        """What the policy does, or a random action."""
        action = self.policy.act(frame[None], self.state)[0]  # it must see every frame
        if self.rng.random() >= self.epsilon:
            return action
        return self.spec.decode(draw_action(self.spec, self.rng))


def draw_action(spec: ActionSpec, rng: np.random.Generator) -> np.ndarray:
    """A uniformly random action, encoded: float32 (K,)."""
    return np.concatenate([draw_group(group, rng) for group in spec.groups])


def draw_group(group: ActionGroup, rng: np.random.Generator) -> np.ndarray:
    """Uniformly random columns of one group of an action, float32."""
    if group.kind == "categorical":
        return np.array([rng.integers(group.size)], np.float32)
    low, high = (np.asarray(bound, np.float32) for bound in (group.low, group.high))
    if group.whole:
        return rng.integers(low.astype(np.int64), high.astype(np.int64) + 1).astype(np.float32)
    return np.clip(rng.uniform(low, high).astype(np.float32), low, high)


class Switch:
    """Plays one policy after another, ``steps`` at a time, chosen at random."""

    def __init__(
        self, policies: Sequence[BehaviourPolicy], steps: int, rng: np.random.Generator
    ) -> None:
        self.policies, self.steps, self.rng = tuple(policies), steps, rng
        self.name = f"switch-{steps}"
        self.current, self.left = self.policies[0], steps

    def act(self, frame: np.ndarray, info: Mapping[str, Any]) -> Any:
        """What the current policy does."""
        if self.left == 0:
            self.current = self.policies[int(self.rng.integers(len(self.policies)))]
            self.left = int(self.rng.integers(1, 2 * self.steps + 1))
        self.left -= 1
        return self.current.act(frame, info)


# Shares of the episodes. Blind extremes die early and so make up few of the frames; sweeps and
# evasion live long and make up most.
MIX: dict[str, float] = {
    "uniform": 0.14,
    "sticky": 0.20,
    "sweep": 0.26,
    "evade": 0.16,
    "switch": 0.16,
    "noop": 0.03,
    "constant": 0.05,
}


def draw_policy(
    rng: np.random.Generator, action_names: Sequence[str], threat: int | None, kind: str = "mix"
) -> BehaviourPolicy:
    """Draws the player of one episode.

    Args:
        rng: the random generator of the episode.
        action_names: names of the actions, with ``stay``, ``left`` and ``right`` among them.
        threat: class of the objects to evade in ``info["labels"]``, or None if there is none.
        kind: ``mix``, or a key of :data:`MIX` to draw that kind only.
    """
    stay, left, right = (list(action_names).index(name) for name in ("stay", "left", "right"))
    if kind == "mix":
        shares = {name: share for name, share in MIX.items() if threat or name != "evade"}
        total = sum(shares.values())
        kind = str(rng.choice(list(shares), p=[share / total for share in shares.values()]))
    if kind == "uniform":
        return Sticky(len(action_names), 0.0, rng)
    if kind == "sticky":
        return Sticky(len(action_names), float(rng.choice([0.5, 0.7, 0.8, 0.9, 0.95])), rng)
    if kind == "sweep":
        # The periods near 20 live longest, so half of the sweeps are of these.
        long_lived = rng.random() < 0.5
        period = rng.uniform(14, 28) if long_lived else np.exp(rng.uniform(np.log(3), np.log(60)))
        sequence = [left, right] if rng.random() < 0.5 else [right, left]
        if rng.random() < 0.25:  # with a rest between the two
            sequence = [sequence[0], stay, sequence[1], stay]
        return Sweep(sequence, float(period), float(rng.choice([0.0, 0.2, 0.5])), rng)
    if kind == "evade":
        assert threat is not None
        return Evade(left, right, threat, float(rng.choice([0.02, 0.1, 0.3])), rng)
    if kind == "noop":
        return Constant(stay, "noop")
    if kind == "constant":
        return Constant(left, "left") if rng.random() < 0.5 else Constant(right, "right")
    if kind == "switch":
        kinds = ["uniform", "sticky", "sweep", "sweep", "noop", "constant"]
        kinds += ["evade"] * (threat is not None)
        parts = [
            draw_policy(rng, action_names, threat, name)
            for name in rng.choice(kinds, size=4, replace=True)
        ]
        return Switch(parts, int(rng.integers(5, 41)), rng)
    raise ValueError(f"unknown kind of policy {kind!r}; choose mix or one of {', '.join(MIX)}.")
