"""Timing steps of an environment under random actions."""

from __future__ import annotations

import time
from typing import Any


def time_steps(env: Any, seconds: float, at_least: int) -> list[float]:
    """Seconds of each step, for about ``seconds`` in all; actions are drawn outside of them.

    Args:
        env: an environment, single or batched, that was reset and goes on.
        seconds: measuring time.
        at_least: steps that are taken however long they take.
    """
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < at_least or time.perf_counter() < end:
        action = env.action_space.sample()
        started = time.perf_counter()
        env.step(action)
        taken.append(time.perf_counter() - started)
    return taken


def first_steps(device: str, on_cpu: int) -> int:
    """Steps before steps are what they will be.

    Args:
        device: of the world. On a GPU the first steps are taken kernel by kernel, and one captures
            a graph.
        on_cpu: how many there are on a CPU.
    """
    from world_model.step_graphs import STEPS_BEFORE_CAPTURE

    return STEPS_BEFORE_CAPTURE + 3 if device.startswith("cuda") else on_cpu
