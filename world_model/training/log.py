"""The figures of a training run, for TensorBoard and for scripts."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from world_model.storage import atomic_file


class Log:
    """Writes figures to TensorBoard and to ``metrics.jsonl``.

    Args:
        folder: of the run.
        step: steps done; what an earlier run logged beyond them is dropped.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        _drop_lines_after(folder / "metrics.jsonl", step)
        self._lines = (folder / "metrics.jsonl").open("a")
        self._started = time.monotonic()

    def write(self, step: int, **figures: float) -> None:
        """One line, and one point in every curve."""
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        seconds = round(time.monotonic() - self._started, 1)
        self._lines.write(json.dumps({"step": step, "seconds": seconds, **figures}) + "\n")
        self._lines.flush()

    def close(self) -> None:
        """Flushes everything."""
        self._board.close()
        self._lines.close()


def _drop_lines_after(path: Path, step: int) -> None:
    """A killed run has logged steps that no checkpoint holds, and perhaps half a line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        with suppress(ValueError, KeyError):
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
    with atomic_file(path) as temporary:
        temporary.write_text("".join(kept))
