"""How the episodes of somebody's imagined environment end, where policies are ranked in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.presets import PRESETS, get_preset
from agents.real_env import RealEnvPreset
from world_model.errors import NFDError

LONGEST = 10_000
"""Steps after which an episode that nothing limits is given up."""
A_BATCH = "A batch has to end its episodes by itself."


@dataclass(frozen=True)
class Ends:
    """What ends episodes besides the environment itself."""

    limit: int | None = None
    """Steps after which an episode is truncated; None: there is none."""
    draw: bool = False
    """Whether an episode also ends by a draw, from the seed of its reset, with
    ``info["termination_probability"]``."""


class EndingEnv:
    """A single imagined environment whose episodes end.

    Args:
        env: see :class:`~benchmarks.env_players.ImaginedEnv`.
        ends: what ends episodes besides it.
        name: of its world, in errors.

    Raises:
        NFDError: if an episode without a limit does not end within :data:`LONGEST` steps, or a step
            brings impossible numbers.
    """

    def __init__(self, env: Any, ends: Ends, name: str) -> None:
        self.env, self.ends, self.name = env, ends, name
        self._steps, self._dice = 0, np.random.default_rng(0)

    @property
    def unwrapped(self) -> Any:
        """The environment itself."""
        return getattr(self.env, "unwrapped", self.env)

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode."""
        self._steps, self._dice = 0, np.random.default_rng(seed)
        result: tuple[np.ndarray, dict[str, Any]] = self.env.reset(seed=seed)
        return result

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """The environment's step, and whether the episode is over."""
        frame, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        chance = info.get("termination_probability", 0.0)
        check_numbers(np.array([reward], np.float64), np.array([chance], np.float64), self.name)
        if self.ends.draw:
            terminated = bool(terminated) or bool(self._dice.random() < chance)
        if self.ends.limit is not None:
            truncated = bool(truncated) or (self._steps >= self.ends.limit and not terminated)
        elif self._steps >= LONGEST and not (terminated or truncated):
            raise NFDError(
                f"an imagined episode did not end within {LONGEST:,} steps. Give its world "
                "max_episode_steps, or draw_ends=True where the environment only tells the "
                "probability of an end."
            )
        return frame, reward, bool(terminated), bool(truncated), info

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


def check_numbers(rewards: np.ndarray, chances: np.ndarray, name: str) -> None:
    """Refuses rewards and probabilities that are none.

    Args:
        rewards: of steps, or whole returns.
        chances: of an end of the episode.
        name: of the world.

    Raises:
        NFDError: if a reward is not finite, or a probability lies outside of [0, 1].
    """
    if not np.isfinite(rewards).all():
        raise NFDError(
            f"{name} pays {rewards[~np.isfinite(rewards)][0]} for a step; expected a finite reward."
        )
    possible = (chances >= 0) & (chances <= 1)
    if not possible.all():
        raise NFDError(
            f"{name} says info['termination_probability'] = {chances[~possible][0]:g} of a step; "
            "expected a probability in [0, 1]."
        )


def steps_of_source(source: Mapping[str, Any] | None) -> int | None:
    """After how many steps the real environment that ``source`` names cuts its episodes off."""
    source = source or {}
    if source.get("max_episode_steps"):
        return int(source["max_episode_steps"])
    name = str(source.get("preset", ""))
    if name not in PRESETS:
        return None
    preset = get_preset(name)
    if isinstance(preset, RealEnvPreset):
        return preset.max_episode_steps
    return preset.frames.max_episode_steps
