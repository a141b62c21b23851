"""Frames per second of a batch of streams, end to end, in a second or two.

How fast a world is in all ways to use it, ``nfd bench speed`` says. This is the one figure of it
that an evaluation has beside the speed of a single stream, measured on the same machine.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

import nfd_env  # noqa: F401 - registers the ids
from benchmarks.timed_steps import first_steps, time_steps

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
    try:
        env.action_space.seed(seed)
        env.reset(seed=seed)
        time_steps(env, 0, first_steps(str(env.unwrapped.core.device), WARM_UP))
        taken = time_steps(env, seconds, FEWEST)
    finally:
        env.close()
    return {
        "streams": streams,
        "frames_per_second": float(streams / np.median(taken)),
        "steps": len(taken),
    }
