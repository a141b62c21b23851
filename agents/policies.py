"""What plays: one small interface for scripted policies, trained agents and people's own.

A policy is batched and keeps its state outside itself, one entry a stream, so that the same
object plays one real game or 64 imagined ones:

>>> policy = make_policy("sweep-2", spaces.Discrete(3))
>>> state = policy.begin(seeds=[0])
>>> observations = np.zeros((1, 64, 64, 3), np.uint8)
>>> [int(policy.act(observations, state)[0]) for _ in range(5)]
[1, 1, 2, 2, 1]

A stream's actions depend on its seed and its observations only, never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from agents.scripted import ConstantPolicy, StickyPolicy, SweepPolicy, UniformPolicy
from agents.seeing import SEEING, SeeingPolicy
from world_model.errors import ActionError


class Policy(Protocol):
    """Chooses actions for ``B`` streams at once."""

    @property
    def name(self) -> str:
        """Short name for tables, such as ``sweep-20``."""
        ...

    def begin(self, seeds: Sequence[int]) -> Any:
        """State of ``len(seeds)`` streams that start an episode, one random seed each."""
        ...

    def restart(self, state: Any, stream: int, seed: int) -> None:
        """Makes one stream of ``state`` start a new episode, in place."""
        ...

    def act(self, observations: np.ndarray, state: Any) -> np.ndarray:
        """One action a stream; ``state`` moves on by one step, in place.

        Args:
            observations: uint8 (B, H, W, 3).
            state: of the same ``B`` streams.

        Returns:
            ``B`` actions, batched as Gymnasium's ``batch_space`` does; int64 (B,) for Discrete.
        """
        ...


BLIND = ("uniform", "sweep-5", "sweep-10", "sweep-20", "sweep-40")
"""Blind policies to play beside what was trained."""
BASELINES = ("noop", "left", *BLIND)
"""Some blind policies of different skill."""
LOOKING = tuple(f"{kind}-{share}" for kind in SEEING for share in (0, 25, 50, 75))
"""Policies of graded skill for the games that somebody here can see: they look, and earn what they
see is true."""
GRADED = (*BASELINES, "sticky-80", "sticky-95", "sweep-15", "sweep-30", *LOOKING)
"""Policies of graded skill that rank a world against the real game, where they know it."""


def available(
    names: Sequence[str], action_space: spaces.Space, action_names: Sequence[str] = ()
) -> list[str]:
    """Those of the ``names`` that :func:`make_policy` knows for such actions.

    >>> available(["uniform", "left", "sweep-5"], spaces.Discrete(2))
    ['uniform', 'sweep-5']
    """

    def known(name: str) -> bool:
        try:
            make_policy(name, action_space, action_names)
        except ActionError:
            return False
        return True

    return [name for name in names if known(name)]


def make_policy(name: str, action_space: spaces.Space, action_names: Sequence[str] = ()) -> Policy:
    """A scripted policy by name.

    Args:
        name: ``noop`` (action 0), ``uniform``, ``sticky-P`` (repeats its last action with
            probability P per cent), ``sweep-N`` (N steps one way, N steps the other),
            ``action-I``, or the name of an action, such as ``left``; for Breakout's actions also
            ``follow-P`` (keeps the paddle under the ball, P per cent of its actions are random),
            for Crafter's ``forage-P`` (walks to what it can use, and uses it), for Defend the
            Center's ``aim-P`` (turns to the nearest monster and shoots).
        action_space: the Discrete space to act in.
        action_names: a name for every action; default: stay, left, right for three actions.

    Raises:
        ActionError: if there is no such policy, or the space is not Discrete.
    """
    if not isinstance(action_space, spaces.Discrete):
        raise ActionError(
            f"scripted policies play Discrete action spaces, not {action_space}. Pass a policy "
            "object of your own instead of a name."
        )
    count, first = int(action_space.n), int(action_space.start)
    names = list(action_names) or (["stay", "left", "right"] if count == 3 else [])
    kind, _, number = name.partition("-")
    value = int(number) if number.isdecimal() else None
    if name == "noop":
        return ConstantPolicy(name, first)
    if name == "uniform":
        return UniformPolicy(name, count, first)
    if name in names:
        return ConstantPolicy(name, first + names.index(name))
    if kind == "action" and value is not None and value < count:
        return ConstantPolicy(name, first + value)
    if kind == "sticky" and value is not None and value <= 100:
        return StickyPolicy(name, count, first, value / 100)
    if kind == "sweep" and value and count >= 2:
        # Of three or more actions the first is usually to do nothing.
        left = names.index("left") if "left" in names else min(1, count - 2)
        right = names.index("right") if "right" in names else (left + 1) % count
        return SweepPolicy(name, first + left, first + right, value)
    if kind in SEEING and value is not None and value <= 100 and set(names) == SEEING[kind][0]:
        index = {label: number for number, label in enumerate(names)}
        return SeeingPolicy(name, SEEING[kind][1], index, value / 100, first)
    known = ["noop", "uniform", "sticky-80", "sweep-20", "action-0", *names]
    raise ActionError(f"no policy is called {name!r}. Known are {', '.join(known)}.")
