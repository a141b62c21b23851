"""When speculation pays: the formulas, and the running estimates that they are fed with."""

from __future__ import annotations

import math
from dataclasses import dataclass


def accepted_run(repeat: float, depth: int) -> float:
    """Frames of ``depth`` drafted ones that are used, on average: ``(1 - p^N) / (1 - p)``.

    The first one always is, as its action is known.

    >>> accepted_run(0.5, 2)
    1.5
    """
    if repeat >= 1:
        return float(depth)
    return (1 - repeat**depth) / (1 - repeat)


def joint_speed_up(repeat: float, depth: int, marginal_cost: float) -> float:
    """Frames a second of ``joint``, relative to a frame at a time: ``E / (1 + (N - 1) m)``.

    Args:
        repeat: probability p that an action is the same as the one before.
        depth: number N of frames in one go.
        marginal_cost: what one more frame costs, relative to the first: m.

    >>> round(joint_speed_up(0.9, 4, 0.25), 2)
    1.97
    """
    return accepted_run(repeat, depth) / (1 + (depth - 1) * marginal_cost)


def best_joint_depth(repeat: float, marginal_cost: float, limit: int) -> int:
    """The depth up to ``limit`` that is fastest; 1 where speculation loses.

    >>> best_joint_depth(0.9, 0.0, 4), best_joint_depth(0.5, 1.0, 4)
    (4, 1)
    """
    return max(range(1, limit + 1), key=lambda n: (joint_speed_up(repeat, n, marginal_cost), -n))


def ahead_seconds(match: float, agent: float, model: float) -> float:
    """Seconds of a step with ``ahead``: ``T_a + max(0, T_m - T_a) + (1 - p) T_m``.

    Without, it is ``T_a + T_m``.

    Args:
        match: probability p that the expected action is taken.
        agent: seconds T_a that the agent thinks.
        model: seconds T_m that a step takes.

    >>> ahead_seconds(1.0, 2.0, 3.0), ahead_seconds(0.0, 2.0, 3.0)
    (3.0, 6.0)
    """
    return agent + max(0.0, model - agent) + (1 - match) * model


def ahead_pays(match: float, agent: float, model: float, margin: float = 0.05) -> bool:
    """Whether ``ahead`` is faster by more than ``margin`` of a step.

    >>> ahead_pays(0.9, 0.02, 0.02), ahead_pays(0.9, 0.0, 0.02), ahead_pays(0.2, 0.01, 0.02)
    (True, False, False)
    """
    return ahead_seconds(match, agent, model) < (1 - margin) * (agent + model)


def best_ahead_depth(match: float, agent: float, model: float, limit: int) -> int:
    """Steps to compute ahead: as many as the agent's time allows and are likelier than not.

    >>> best_ahead_depth(0.9, 1.0, 0.1, 4), best_ahead_depth(0.6, 1.0, 0.1, 4)
    (4, 1)
    """
    if not 0 < match < 1:
        likely = limit if match >= 1 else 1
    else:
        likely = math.floor(math.log(0.5) / math.log(match))
    in_time = math.ceil(agent / model) if model > 0 else limit
    return max(1, min(limit, likely, in_time))


@dataclass
class RunningMean:
    """A mean in which the last ``memory`` values or so count, and all of the first ones."""

    memory: int = 50
    """Number of values that it reaches back to."""
    value: float = 0.0
    """The mean; 0 before the first value."""
    count: int = 0
    """Values so far."""

    def add(self, value: float) -> None:
        """Takes one more value in."""
        self.count += 1
        self.value += (value - self.value) / min(self.count, self.memory)
