"""Random windows of consecutive frames, for training."""

from __future__ import annotations

import numpy as np
import torch

from world_model.data.store import EpisodeStore
from world_model.errors import DataError
from world_model.types import Batch


class WindowSampler:
    """Draws batches of windows that never cross an episode.

    A share ``start_fraction`` of the windows begins at the true start of an episode, with the
    null action, where there is one (an episode that goes on where a recording was cut has none).
    The others begin at a frame drawn uniformly from all frames where a whole window fits. Episodes
    shorter than ``length`` are never drawn.

    The batch of a step is a function of (seed, step) alone, so that training that was
    interrupted continues with the batches that it would have had.

    Args:
        store: the episodes.
        split: ``train`` or ``validation``.
        length: frames per window.
        batch_size: windows per batch.
        seed: seed of all batches.
        start_fraction: in [0, 1].

    Raises:
        DataError: if no episode of the split is long enough, or an argument is out of range.
    """

    def __init__(
        self,
        store: EpisodeStore,
        split: str,
        length: int,
        batch_size: int,
        seed: int,
        start_fraction: float = 0.1,
    ) -> None:
        if length < 1 or batch_size < 1 or not 0 <= start_fraction <= 1:
            raise DataError(
                f"length={length} and batch_size={batch_size} must be at least 1, and "
                f"start_fraction={start_fraction} between 0 and 1."
            )
        episodes = store.split(split)
        lengths = store.lengths[episodes]
        fits = lengths >= length
        if not fits.any():
            longest = int(lengths.max()) if len(lengths) else 0
            raise DataError(
                f"no episode of the split {split!r} of {store.root} has {length} frames (there "
                f"are {len(episodes)}, the longest with {longest}). Use shorter windows or record "
                "more."
            )
        self.store, self.length, self.batch_size = store, length, batch_size
        self.seed, self.start_fraction = seed, start_fraction
        self._first_rows = store.offsets[:-1][episodes[fits]]
        self._produced_by = store.produced_by()
        true = np.isnan(self._produced_by[self._first_rows]).all(axis=1)
        self._start_rows = self._first_rows[true] if true.any() else self._first_rows
        # Windows are numbered episode by episode; the sums tell which episode a number is of.
        self._window_sums = np.cumsum(lengths[fits] - length + 1)

    @property
    def num_windows(self) -> int:
        """Number of different windows."""
        return int(self._window_sums[-1])

    def rows(self, step: int) -> np.ndarray:
        """int64 (B,): the first row, in the store, of each window of batch ``step``."""
        rng = np.random.default_rng([self.seed, step])
        at_start = rng.random(self.batch_size) < self.start_fraction
        starts = rng.integers(len(self._start_rows), size=self.batch_size)
        windows = rng.integers(self.num_windows, size=self.batch_size)
        episodes = np.searchsorted(self._window_sums, windows, side="right")
        before = np.where(episodes > 0, self._window_sums[episodes - 1], 0)
        rows = self._first_rows[episodes] + windows - before
        return np.where(at_start, self._start_rows[starts], rows)

    def sample(self, step: int) -> Batch:
        """Batch number ``step``, with labels where the data set has them."""
        labels = self.store.labels
        return Batch(
            self.cut(self.store.frames, step),
            self.actions(step),
            None if labels is None else self.cut(labels, step),
        )

    def actions(self, step: int) -> torch.Tensor:
        """float32 (B, T, K), the actions of batch ``step``."""
        return self.cut(self._produced_by, step)

    def cut(self, array: np.ndarray | torch.Tensor, step: int) -> torch.Tensor:
        """(B, T, ...), the windows of batch ``step`` out of an array with a row per frame.

        On the array's own device, if it is a tensor.
        """
        if isinstance(array, torch.Tensor):
            index = self.rows(step)[:, None] + np.arange(self.length)
            return array[torch.from_numpy(index).to(array.device)]
        return torch.from_numpy(np.stack([array[r : r + self.length] for r in self.rows(step)]))
