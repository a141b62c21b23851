"""How much Tier B of ``nfd evaluate`` may train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from world_model.errors import ConfigError


@dataclass(frozen=True)
class TrainingBudget:
    """Budget of the agents that are trained to judge a world."""

    steps: int = 20_480
    """Environment steps of each agent."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One agent is trained for each, in each way."""
    episodes: int = 20
    """Episodes that each plays, in the real and in the imagined game."""
    horizons: tuple[int, ...] = (5, 15, 50, 0)
    """Steps after which imagined training episodes are cut off; 0: the world's own horizon."""
    starts: tuple[str, ...] = ("moments", "bundled")
    """Where imagined training episodes start: in the midst of recorded ones, or where those do."""
    rollout: int = 32
    """Steps of each of the 32 streams between two updates."""
    max_uncertainty: float | None = None
    """Limit of the agents that are cut off where the world is unsure (default: the one that
    --measure uncertainty recommends; without it there are no such agents)."""
    real_data: int | None = None
    """Lift: real steps of the model-free baseline (default: as many as the training split of the
    data set holds)."""

    def __post_init__(self) -> None:
        least = {"steps": 0, "episodes": 1, "rollout": 1, "real_data": 0}
        refuse_below(least, self, "--training.")
        if not self.seeds or min(self.seeds) < 0 or min(self.horizons, default=0) < 0:
            raise ConfigError(
                "--training.seeds needs at least one seed; neither seeds nor --training.horizons "
                "may be below 0."
            )


def refuse_below(least: Mapping[str, int], options: Any, flag: str) -> None:
    """Refuses options that are below their smallest values; those that are None are not.

    Raises:
        ConfigError: that names the option, which begins with ``flag`` on the command line.
    """
    for name, bound in least.items():
        value = getattr(options, name)
        if value is not None and value < bound:
            called = flag + name.replace("_", "-")
            raise ConfigError(f"{called} {value}: it must be at least {bound}.")
