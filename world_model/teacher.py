"""The many-step network that a few-step world was distilled from, kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from world_model.flow import FlowConfig
from world_model.network import NextFrameDiffusion
from world_model.network_config import NetworkConfig


@dataclass(frozen=True)
class TeacherConfig:
    """The part of a teacher that is plain text."""

    network: NetworkConfig
    """Its transformer."""
    flow: FlowConfig
    """What the transformer's output stands for."""
    sampler: str
    """Its default sampler."""
    sampling_steps: int
    """Its default number of sampling steps."""
    sampling_shift: float
    """k of its grid of noise levels."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TeacherConfig:
        """Reads what :meth:`to_dict` wrote, lists instead of tuples allowed.

        Raises:
            KeyError, TypeError, ValueError: if something is missing, unknown or out of range.
        """
        parts: dict[str, dict[str, Any]] = {
            name: {k: tuple(v) if isinstance(v, list) else v for k, v in data[name].items()}
            for name in ("network", "flow")
        }
        return cls(
            network=NetworkConfig(**parts["network"]),
            flow=FlowConfig(**parts["flow"]),
            sampler=str(data["sampler"]),
            sampling_steps=int(data["sampling_steps"]),
            sampling_shift=float(data["sampling_shift"]),
        )


@dataclass(frozen=True, eq=False)
class Teacher:
    """A many-step network over the tokens, actions and contexts of its student's world."""

    config: TeacherConfig
    """How it is sampled, and its shape."""
    network: NextFrameDiffusion
    """The transformer."""
