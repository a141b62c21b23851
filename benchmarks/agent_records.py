"""How an agent of Tier B was trained and what it earned: one JSON document for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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


def write_played(
    path: Path, key: Mapping[str, Any], played: Mapping[str, Evaluation], under: str = "played"
) -> None:
    """Writes down what was played, by name.

    Args:
        path: the file.
        key: all that decides what is earned.
        played: where an agent played, or which policies did.
        under: name of that part of the file.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    parts = {
        name: {**evaluation.to_dict(), "terminated": evaluation.terminated.tolist()}
        for name, evaluation in played.items()
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps({"key": key, under: parts}, indent=1) + "\n")


def read_played(
    path: Path, key: Mapping[str, Any], under: str = "played", ignoring: Sequence[str] = ()
) -> dict[str, Evaluation] | None:
    """What :func:`write_played` wrote; None where nothing can be read, or of another key.

    What the file's key has under the names ``ignoring`` is not compared.
    """
    try:
        content = json.loads(path.read_text())
        kept = {name: part for name, part in content["key"].items() if name not in ignoring}
        if kept != json.loads(json.dumps(key)):
            return None
        return {name: _evaluation(part) for name, part in content[under].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _evaluation(part: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        part["policy"],
        part["environment"],
        np.array(part["returns"], np.float64),
        np.array(part["lengths"], np.int64),
        np.array(part["terminated"], bool),
        part["seconds"],
    )
