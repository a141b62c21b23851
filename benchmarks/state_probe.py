"""Reads what the real game knew off frames: where the player is, which way it looks, its health.

Small networks learn it from pairs of real frames of the training split (one frame does not show
how fast anything moves). Applied to imagined frames they tell whether they show what was true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clips import Clips
from benchmarks.pairs_of_frames import PairFeatures, rows_before_another, train_on_pairs
from world_model.data.store import EpisodeStore
from world_model.errors import DataError

ANGLES = ("angle", "heading", "yaw", "pitch", "roll")
"""Names (or their last word) of what goes round in a circle."""
SPREAD = 1e-6
"""Spread, as a share of the largest value, of what never changes."""


@dataclass(frozen=True)
class Quantity:
    """One number that the recordings know of every frame."""

    name: str
    """What the data set calls it."""
    column: int
    """Where it is in the state."""
    turn: float | None
    """A whole turn, where it is an angle: 360 in degrees, 2 pi in radians."""
    mean: tuple[float, ...]
    """Of the targets: of the number itself, or of an angle's sine and cosine."""
    std: tuple[float, ...]
    """Of the targets."""

    @property
    def unit(self) -> str:
        """Of errors; empty where only the game knows it."""
        return "" if self.turn is None else "degrees"

    def targets(self, values: np.ndarray) -> np.ndarray:
        """What is to be read, float32 (..., 1 or 2), standardised: mean 0, spread 1."""
        return ((_raw(values, self.turn) - self.mean) / self.std).astype(np.float32)

    def values(self, targets: np.ndarray) -> np.ndarray:
        """The numbers that such targets say, float64 (...); angles within one turn."""
        raw = targets.astype(np.float64) * self.std + self.mean
        if self.turn is None:
            number: np.ndarray = raw[..., 0]
            return number
        return np.arctan2(raw[..., 0], raw[..., 1]) / (2 * np.pi) * self.turn % self.turn

    def errors(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Absolute differences; of angles the shorter way round, in degrees."""
        apart = np.abs(a - b)
        if self.turn is None:
            return apart
        apart = apart % self.turn
        return np.minimum(apart, self.turn - apart) * (360 / self.turn)


def _raw(values: np.ndarray, turn: float | None) -> np.ndarray:
    if turn is None:
        return values.astype(np.float64)[..., None]
    radians = values.astype(np.float64) * (2 * np.pi / turn)
    return np.stack([np.sin(radians), np.cos(radians)], axis=-1)


def find_quantities(store: EpisodeStore) -> tuple[list[Quantity], dict[str, str]]:
    """What there is to read, and by name why other columns of the state are none of it.

    An angle is one by its name (:data:`ANGLES`); it is taken for degrees where a recorded value
    is beyond 2 pi, else for radians.
    """
    rows = rows_before_another(store, "train") + 1
    found, left_out = [], {}
    for column, name in enumerate(store.state_names):
        values = store.state[rows, column].astype(np.float64)
        if not len(values) or not np.isfinite(values).all():
            left_out[name] = "not known of every training frame"
            continue
        if values.std() <= SPREAD * np.abs(values).max():
            left_out[name] = f"always {values[0]:g} in the training split"
            continue
        turn = None
        if name.lower().replace(".", "_").split("_")[-1] in ANGLES:
            turn = 360.0 if np.abs(values).max() > 2 * np.pi else 2 * np.pi
        raw = _raw(values, turn)
        std = raw.std(0).clip(min=SPREAD)
        found.append(Quantity(name, column, turn, tuple(raw.mean(0)), tuple(std)))
    return found, left_out


class StateProbe(nn.Module):
    """Reads quantities off two consecutive frames.

    Args:
        frame_shape: height, width, channels.
        quantities: what to read.
    """

    def __init__(self, frame_shape: tuple[int, int, int], quantities: list[Quantity]) -> None:
        super().__init__()
        self.quantities = quantities
        self.body = PairFeatures(frame_shape)
        self.head = nn.Sequential(
            nn.Linear(self.body.width, 128), nn.SiLU(),
            nn.Linear(128, sum(len(q.mean) for q in quantities)),
        )  # fmt: skip

    def forward(self, before: Tensor, after: Tensor, shift: Tensor | None = None) -> Tensor:
        """All targets side by side; arguments as of :class:`PairFeatures`."""
        read: Tensor = self.head(self.body(before, after, shift))
        return read

    def split(self, read: np.ndarray) -> list[np.ndarray]:
        """The same by quantity, float (..., 1 or 2) each."""
        places = np.cumsum([len(q.mean) for q in self.quantities])[:-1]
        return np.split(read, places, axis=-1)


def train_probe(
    store: EpisodeStore,
    quantities: list[Quantity],
    *,
    steps: int,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> StateProbe:
    """A :class:`StateProbe` trained on pairs of real frames of the training split.

    Args:
        store: the data set.
        quantities: what to read.
        steps: optimiser steps, of :data:`benchmarks.pairs_of_frames.BATCH` pairs each.
        seed: of weights and pairs.
        device: where to train.
        on_step: called with 1 after every step.

    Raises:
        DataError: if there is nothing to read.
    """
    if not quantities:
        raise DataError(f"the recordings of {store.root} know nothing to read off frames.")

    def loss_of(
        probe: StateProbe, chosen: np.ndarray, before: Tensor, after: Tensor, shift: Tensor
    ) -> Tensor:
        state = store.state[chosen + 1]
        wanted = np.concatenate([q.targets(state[:, q.column]) for q in quantities], axis=-1)
        return F.mse_loss(probe(before, after, shift), torch.from_numpy(wanted).to(device))

    return train_on_pairs(
        lambda: StateProbe(store.frame_shape, quantities),
        store,
        rows_before_another(store, "train"),
        loss_of,
        steps=steps,
        seed=seed,
        device=device,
        on_step=on_step,
    )


@torch.no_grad()
def read_pairs(probe: StateProbe, before: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    """Targets of every quantity, float32 (N, 1 or 2), read off frames uint8 (N, h, w, 3)."""
    device = next(probe.parameters()).device
    parts = [
        probe(*(torch.from_numpy(f[i : i + 256].copy()).to(device) for f in (before, after))).cpu()
        for i in range(0, len(before), 256)
    ]
    return probe.split(torch.cat(parts).numpy())


def read_clips(probe: StateProbe, clips: Clips, frames: np.ndarray) -> list[np.ndarray]:
    """Targets of every quantity at every step, float32 (N, H, 1 or 2).

    Args:
        probe: reads pairs.
        clips: whose last context frame is before the first of ``frames``.
        frames: uint8 (N, H, h, w, 3), real or imagined.
    """
    film = np.concatenate([clips.last_seen, frames], axis=1)
    before, after = (film[:, i : i + frames.shape[1]] for i in (0, 1))
    read = read_pairs(probe, *(part.reshape(-1, *frames.shape[2:]) for part in (before, after)))
    return [part.reshape(*frames.shape[:2], -1) for part in read]


def true_states(store: EpisodeStore, clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """What the game knew: float32 (N, H, S), NaN after the end, and of the last context frame."""
    context = clips.context.frames.shape[1]
    states = np.full((*clips.ended.shape, len(store.state_names)), np.nan, np.float32)
    last = np.empty((len(clips), len(store.state_names)), np.float32)
    for i, (index, start) in enumerate(zip(clips.episodes, clips.starts, strict=True)):
        known = store.episode(int(index)).state[start + context - 1 :][: clips.horizon + 1]
        last[i], states[i, : len(known) - 1] = known[0], known[1:]
    return states, last
