"""How an agent of Tier B was trained and what it earned: one JSON document for each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation import Evaluation
from world_model.storage import atomic_file

REAL = "real"
"""Where an agent of the model-free baseline starts: in the real game."""


@dataclass(frozen=True)
class Arm:
    """One way to train agents, of which there are several seeds."""

    starts: str
    """``moments`` or ``bundled`` (where imagined episodes start), or ``real``: no imagination."""
    horizon: int | None = None
    """Steps after which imagined episodes are cut off; None: the world's own horizon."""
    max_uncertainty: float | None = None
    """Uncertainty beyond which they are; None: no such limit."""
    steps: int = 0
    """Environment steps to train for."""

    @property
    def name(self) -> str:
        """For folders and tables: ``moments-15``, ``bundled-full-limited``, ``real-10000``."""
        if self.starts == REAL:
            return f"{REAL}-{self.steps}"
        limited = "" if self.max_uncertainty is None else "-limited"
        return f"{self.starts}-{self.horizon or 'full'}{limited}"


@dataclass(frozen=True)
class Agent:
    """A finished agent and what it earned."""

    arm: Arm
    """How it was trained."""
    seed: int
    """Of its training."""
    played: dict[str, Evaluation] = field(default_factory=dict)
    """``real`` and ``imagined``: whole episodes from their beginning, without a limit of trust.
    Who trained in the real game plays there alone."""


def write_agent(path: Path, key: dict[str, Any], played: dict[str, Evaluation]) -> None:
    """Writes down what an agent earned.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    parts = {where: to_record(evaluation) for where, evaluation in played.items()}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps({"key": key, "played": parts}, indent=1) + "\n")


def read_agent(path: Path, key: dict[str, Any]) -> dict[str, Evaluation] | None:
    """What was written down of an agent; None where nothing can be read, or of other settings."""
    try:
        content = json.loads(path.read_text())
        if content["key"] != json.loads(json.dumps(key)):
            return None
        return {where: from_record(part) for where, part in content["played"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def to_record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that :func:`from_record` needs to make it again."""
    return {**evaluation.to_dict(), "terminated": evaluation.terminated.tolist()}


def from_record(part: dict[str, Any]) -> Evaluation:
    """What :func:`to_record` wrote down."""
    return Evaluation(
        part["policy"],
        part["environment"],
        np.array(part["returns"], np.float64),
        np.array(part["lengths"], np.int64),
        np.array(part["terminated"], bool),
        part["seconds"],
    )
