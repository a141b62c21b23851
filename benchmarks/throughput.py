"""Frames per second of a batch of streams, end to end, in a second or two.

How fast a world is in all ways to use it, ``nfd bench speed`` says. This is the one figure of it
that an evaluation has beside the speed of a single stream, measured on the same machine.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np

import nfd_env  # noqa: F401 - registers the ids

STREAMS = 32
"""Environments in the batch."""
SECONDS = 1.5
"""Measuring time."""
WARM_UP = 2
"""Steps that are not timed, on a CPU: the first ones allocate."""
FEWEST = 3
"""Steps that are timed at least, however long they take."""
SOMEBODY_ELSES = "timed of worlds of this project only, whose batch is a model of its own"


def measure_throughput(
    world: Any, seed: int, streams: int = STREAMS, seconds: float = SECONDS, **settings: Any
) -> dict[str, Any]:
    """Times steps of a batch under random actions.

    Args:
        world: a world of ours; of others nothing is measured.
        seed: of starts, noise and actions.
        streams: environments in the batch.
        seconds: measuring time, without the warm-up.
        settings: of our environment, such as ``sampling_steps``.

    Returns:
        ``streams``, ``frames_per_second`` of all streams together (at the median step) and
        ``steps`` that were timed; or ``why_not``.
    """
    if hasattr(world, "endless_env"):
        return {"why_not": SOMEBODY_ELSES}
    env: Any = gym.make_vec("NFD-World-v0", num_envs=streams, world=world, endless=True, **settings)
    taken: list[float] = []
    try:
        env.action_space.seed(seed)
        env.reset(seed=seed)
        for _ in range(_warm_up(env)):
            env.step(env.action_space.sample())
        end = time.perf_counter() + seconds
        while len(taken) < FEWEST or time.perf_counter() < end:
            action = env.action_space.sample()
            started = time.perf_counter()
            env.step(action)
            taken.append(time.perf_counter() - started)
    finally:
        env.close()
    return {
        "streams": streams,
        "frames_per_second": float(streams / np.median(taken)),
        "steps": len(taken),
    }


def _warm_up(env: Any) -> int:
    from world_model.step_graphs import STEPS_BEFORE_CAPTURE

    # On a GPU the first steps are taken kernel by kernel, and one captures a graph.
    return STEPS_BEFORE_CAPTURE + 3 if env.unwrapped.core.device.type == "cuda" else WARM_UP
