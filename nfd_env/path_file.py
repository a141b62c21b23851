"""A path through an imagined world as a small JSON file: the same frames again, anywhere it goes.

::

    {
      "format": "nfd-path", "version": 1,
      "world": "doom-take-cover@1#0123456789ab",   what imagined it, its hash included
      "seed": 7,                                   of the episode: reset(seed=7) starts it
      "contexts": "bundled",                       where episodes started
      "actions": [{"action": [1.0], "steps": 12}, ...]
    }

``action`` is encoded as the world's ActionSpec does, one number a column; ``steps`` is how often it
is taken in a row; ``sampling_steps`` beside it says that these steps were sampled otherwise than
the world does by itself. With the world, the seed and the actions every frame is fixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from world_model.action_spec import ActionSpec
from world_model.errors import ActionError, DataError
from world_model.storage import atomic_file

FORMAT, VERSION = "nfd-path", 1


@dataclass
class Stretch:
    """An action that is taken some times in a row."""

    action: tuple[float, ...]
    """Encoded, one number a column."""
    steps: int = 1
    """How often."""
    sampling_steps: int | None = None
    """Denoising steps per frame; None: the world's own number."""


@dataclass
class WorldPath:
    """What decides every frame of an imagined episode."""

    world: str
    """``model_id`` of the world, with its hash."""
    seed: int
    """Seed of the episode."""
    contexts: str = "bundled"
    """Where episodes started, as the environment's argument."""
    actions: list[Stretch] = field(default_factory=list)
    """What was done."""

    def __len__(self) -> int:
        return sum(stretch.steps for stretch in self.actions)

    def add(self, action: np.ndarray, sampling_steps: int | None = None) -> None:
        """One more step, with an encoded action (K,)."""
        vector = tuple(float(value) for value in action)
        last = self.actions[-1] if self.actions else None
        if last and (last.action, last.sampling_steps) == (vector, sampling_steps):
            last.steps += 1
        else:
            self.actions.append(Stretch(vector, 1, sampling_steps))

    def cut(self, steps: int) -> WorldPath:
        """A copy of its first ``steps`` steps, from which to go on otherwise."""
        kept: list[Stretch] = []
        for stretch in self.actions:
            count = min(stretch.steps, steps)
            if count:
                kept.append(Stretch(stretch.action, count, stretch.sampling_steps))
            steps -= count
        return WorldPath(self.world, self.seed, self.contexts, kept)

    def steps(self) -> Iterator[tuple[np.ndarray, int | None]]:
        """Every step: its encoded action float32 (K,), and its number of sampling steps."""
        for stretch in self.actions:
            vector = np.array(stretch.action, np.float32)
            for _ in range(stretch.steps):
                yield vector.copy(), stretch.sampling_steps

    def save(self, file: str | os.PathLike[str]) -> None:
        """Writes the file, whole or not at all.

        Raises:
            StorageError: if it cannot be written.
        """
        rows = [{k: v for k, v in asdict(s).items() if v is not None} for s in self.actions]
        head = {"format": FORMAT, "version": VERSION, "world": self.world, "seed": self.seed}
        text = json.dumps({**head, "contexts": self.contexts})[:-1]
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        with atomic_file(file) as temporary:
            temporary.write_text(f'{text}, "actions": [\n{lines}\n]}}\n')

    def check(self, model_id: str, spec: ActionSpec) -> None:
        """Raises unless the path is one of this world.

        Raises:
            DataError: if it is another world's.
            ActionError: if an action is none of the world.
        """
        if self.world != model_id:
            raise DataError(
                f"the path leads through {self.world}, but this is {model_id}: the same actions "
                "would lead elsewhere. Open it with its own world."
            )
        for place, stretch in enumerate(self.actions):
            try:
                spec.check(np.array([stretch.action], np.float32))
            except (ActionError, OverflowError) as error:
                raise ActionError(f"entry {place} of the path's actions: {error}") from error


def load_path(file: str | os.PathLike[str]) -> WorldPath:
    """Reads a path.

    Raises:
        DataError: if it is missing, damaged, or of a newer version.
    """
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read as a path: {error}.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError(f'{file} is no saved path: it does not say "format": "{FORMAT}".')
    if data.get("version") != VERSION:
        raise DataError(
            f"{file} has version {data.get('version')!r} of the format; this version of nfd-world "
            f"reads {VERSION}. Upgrade nfd-world, or save the path again."
        )
    try:
        return WorldPath(
            _text(data, "world"),
            _count(data, "seed", 0),
            _text({"contexts": "bundled", **data}, "contexts"),
            [_stretch(row) for row in data["actions"]],
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{file} is a damaged path: {reason}.") from error


def _stretch(row: Any) -> Stretch:
    if not isinstance(row, dict) or not isinstance(row.get("action"), list):
        raise ValueError(f"{str(row)[:80]} is no action with its steps")
    numbers = row["action"]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise ValueError(f"the action {str(numbers)[:80]} is no list of numbers")
    sampling = None if row.get("sampling_steps") is None else _count(row, "sampling_steps", 1)
    return Stretch(tuple(map(float, numbers)), _count({"steps": 1, **row}, "steps", 1), sampling)


def _count(data: dict[str, Any], key: str, low: int) -> int:
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 1 << 63:
        raise ValueError(f"{key!r} is {value!r}, no whole number of at least {low}")
    return value


def _text(data: dict[str, Any], key: str) -> str:
    if not isinstance(data[key], str):
        raise ValueError(f"{key!r} is {data[key]!r}, no text")
    return data[key]
