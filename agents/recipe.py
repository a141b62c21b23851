"""Recipes: a Gymnasium environment and the preprocessing that makes a world's frames of it.

A recipe travels with recordings and worlds as their ``source``, plain JSON, so that the same real
environment can be made again wherever a world is judged or an agent returns to the real game.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from world_model.errors import ConfigError


@dataclass(frozen=True)
class FrameOptions:
    """How an environment's pictures become frames, and its steps those of a world."""

    size: tuple[int, int] = (64, 64)
    """Height and width of a frame; pictures are averaged down to it."""
    crop: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right edge of the part of the picture that is kept, in pixels."""
    frame_skip: int = 1
    """Environment steps that an action is held for; their rewards are summed."""
    render: bool = False
    """Frames are what the environment renders, not what it observes; a short observation is kept
    as the state beside them."""
    observation_key: str | None = None
    """The image among the entries of a Dict observation (default: the only one, or `screen`)."""
    max_episode_steps: int | None = None
    """Cuts episodes off after so many steps (default: the environment's limit, at most 1000)."""
    action_limit: float | None = None
    """Bounds numbers that the action space leaves unbounded to plus or minus this."""
    noop_starts: int = 0
    """Up to so many environment steps of the first action before an episode, drawn by its seed:
    for games that always start alike."""
    pool_frames: bool = False
    """A frame is the maximum of the last two pictures: for games that draw things in turns."""
    end_on_life_loss: bool = False
    """Losing one of the lives in info["lives"] ends an episode."""

    def __post_init__(self) -> None:
        checks = {
            f"size={self.size}: height and width must be at least 1": min(self.size) >= 1,
            f"frame_skip={self.frame_skip} must be at least 1": self.frame_skip >= 1,
            f"noop_starts={self.noop_starts} must not be negative": self.noop_starts >= 0,
            f"max_episode_steps={self.max_episode_steps} must be at least 1": (
                self.max_episode_steps is None or self.max_episode_steps >= 1
            ),
            f"action_limit={self.action_limit} must be above 0 and at most a million": (
                self.action_limit is None or 0 < self.action_limit <= 1e6
            ),
            f"render and observation_key={self.observation_key!r} exclude each other": not (
                self.render and self.observation_key
            ),
            f"pool_frames needs frame_skip >= 2, not {self.frame_skip}": (
                self.frame_skip >= 2 or not self.pool_frames
            ),
        }
        wrong = [text for text, good in checks.items() if not good]
        if wrong:
            raise ConfigError(f"{'; '.join(wrong)}.")


@dataclass(frozen=True)
class EnvRecipe:
    """All that is needed to make a real environment with a world's frames."""

    name: str
    """Name of its recordings, and of the world that is learned from them."""
    env_id: str
    """Gymnasium id; or ``module:function`` that makes the environment, without arguments."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able arguments of ``gymnasium.make``."""
    frames: FrameOptions = field(default_factory=FrameOptions)
    """Preprocessing."""
    fps: float | None = None
    """Steps per second, frame skip included; None: what the environment renders at, or 10."""
    reward: str = ""
    """What the reward of one step counts, in words."""

    def to_source(self, max_episode_steps: int, versions: Mapping[str, str]) -> dict[str, Any]:
        """JSON-able ``source`` of recordings, read back by :meth:`from_source`.

        Args:
            max_episode_steps: the limit that holds, whoever set it.
            versions: of the packages that the game comes with.
        """
        return {
            "name": self.name,
            "environment": self.env_id,
            "kwargs": dict(self.kwargs),
            "frame_skip": self.frames.frame_skip,
            "max_episode_steps": max_episode_steps,
            **({"reward": self.reward} if self.reward else {}),
            "fps": self.fps,
            "preprocessing": asdict(self.frames),
            "versions": dict(versions),
        }

    @classmethod
    def from_source(cls, source: Mapping[str, Any]) -> EnvRecipe:
        """The recipe that recordings or a world were made by.

        Raises:
            ConfigError: if ``source`` is no such description.
        """
        try:
            settings = dict(source["preprocessing"])
            unknown = set(settings) - {f.name for f in fields(FrameOptions)}
            if unknown:
                raise ValueError(f"unknown preprocessing {sorted(unknown)}")
            for name in ("size", "crop"):
                if settings.get(name) is not None:
                    settings[name] = tuple(int(n) for n in settings[name])
            return cls(
                name=str(source["name"]),
                env_id=str(source["environment"]),
                kwargs=dict(source["kwargs"]),
                frames=FrameOptions(**settings),
                fps=source["fps"],
                reward=str(source.get("reward", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"the source {dict(source)} does not say how to make its environment ({error!r}). "
                "It was not recorded by `nfd collect`, or by a newer release."
            ) from error


def is_recipe(source: Mapping[str, Any]) -> bool:
    """Whether ``source`` was written by :meth:`EnvRecipe.to_source`."""
    return {"name", "environment", "kwargs", "preprocessing"} <= set(source)


def default_name(env_id: str) -> str:
    """A name for recordings of an environment that is given none: ``ale-breakout-v5``."""
    return re.sub(r"[^a-z0-9._]+", "-", env_id.lower()).strip("-.") or "environment"
