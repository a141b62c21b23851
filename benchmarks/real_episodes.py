"""Whole episodes of a policy in the real game."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from agents.environments import Real, real_environment, real_name
from agents.evaluation import Evaluation, evaluate
from agents.policies import Policy
from benchmarks.progress import counting

STREAMS = 4
"""Games side by side."""


def play_real(policy: Policy, real: Real, seeds: Sequence[int], console: Console) -> Evaluation:
    """What ``policy`` earns in the environment ``real``, one episode for each seed.

    Raises:
        NFDError: if the environment cannot be made.
    """
    with counting(console, f"{policy.name}, real", len(seeds)) as tell:
        return evaluate(
            policy,
            real_environment(real),
            seeds,
            streams=STREAMS,
            environment=f"{real_name(real)} (real)",
            on_episode=lambda *_: tell(1),
        )
