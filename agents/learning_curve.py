"""The learning curve of a run, as ``learning_curve.csv`` and in memory."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from agents.statistics import format_number
from world_model.errors import CheckpointError
from world_model.storage import atomic_file

CURVE = "learning_curve.csv"


@dataclass(frozen=True)
class CurvePoint:
    """What one update of PPO left in the log."""

    timesteps: int
    """Environment steps so far, over all streams."""
    seconds: float
    """Wall-clock time of training so far."""
    episode_return: float | None
    """Mean return of the last 100 finished training episodes; None before the first."""
    episode_length: float | None
    """Their mean length in steps."""
    entropy: float
    """Entropy of the policy, in nats."""
    approx_kl: float
    """How far the update moved the policy."""
    explained_variance: float
    """Share of the variance of the returns that the value function explains."""
    value_loss: float
    """Mean squared error of the value function, in units of normalised rewards."""


class LearningCurve:
    """Points in the order of training, mirrored to ``learning_curve.csv``."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / CURVE
        self.points: list[CurvePoint] = []

    @property
    def seconds(self) -> float:
        """Wall-clock time up to the last point."""
        return self.points[-1].seconds if self.points else 0.0

    def add(self, point: CurvePoint) -> CurvePoint:
        """Appends ``point`` and returns it."""
        self.points.append(point)
        return point

    def describe(self) -> str:
        """The run so far in a line."""
        if not self.points:
            return "nothing trained yet"
        last = self.points[-1]
        text = f"{last.timesteps:,} steps in {last.seconds / 60:.1f} min"
        if last.episode_return is None:
            return f"{text}, no episode has ended yet"
        mean = format_number(last.episode_return)
        return f"{text}, mean return of the last training episodes {mean}"

    def to_csv(self) -> str:
        """The whole curve as text."""
        stream = io.StringIO()
        writer = csv.DictWriter(
            stream, [field.name for field in fields(CurvePoint)], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(asdict(point) for point in self.points)
        return stream.getvalue()

    def save(self) -> None:
        """Writes the whole curve, or leaves the old file as it is."""
        with atomic_file(self.file) as path:
            path.write_text(self.to_csv())

    def load(self, up_to: int | None = None) -> None:
        """Reads the points of an earlier run (up to ``up_to`` timesteps), if there are any.

        Raises:
            CheckpointError: if the file is damaged.
        """
        if not self.file.is_file():
            return
        try:
            with self.file.open(newline="") as stream:
                points = [_parse(row) for row in csv.DictReader(stream)]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.file} cannot be read ({error!r}). Delete it to go on without it."
            ) from error
        self.points = [point for point in points if up_to is None or point.timesteps <= up_to]


def _parse(row: dict[str, str]) -> CurvePoint:
    values = {f.name: float(row[f.name]) if row[f.name] else None for f in fields(CurvePoint)}
    return CurvePoint(**{**values, "timesteps": int(row["timesteps"])})  # type: ignore[arg-type]
