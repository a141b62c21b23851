"""What the outcome model is taught: recorded episodes as columns, and endless batches of them.

All targets use NaN for *unknown*: the reward into the first frame, the end of a transition that
nobody took or that was cut off by a time limit, a state that was not recorded. Losses skip them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from world_model.action_spec import ActionSpec
from world_model.errors import DataError
from world_model.types import Episode


class EpisodeSource(Protocol):
    """Recorded episodes, as :class:`world_model.data.EpisodeStore` keeps them."""

    @property
    def action_spec(self) -> ActionSpec:
        """Meaning of the columns of ``Episode.actions``."""
        ...

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width, channels of every frame."""
        ...

    @property
    def state_names(self) -> Sequence[str]:
        """Names of the columns of ``Episode.state``."""
        ...

    def episode(self, index: int, /) -> Episode:
        """Episode number ``index``."""
        ...

    def split(self, name: str, /) -> np.ndarray:
        """Indices of the episodes of the ``train`` or ``validation`` split."""
        ...


@dataclass(frozen=True)
class OutcomeBatch:
    """``B`` sequences of ``T`` frames with what the outcome model should say of each."""

    frames: Tensor
    """uint8 (B, T, H, W, 3)."""
    actions: Tensor
    """float32 (B, T, K), the action that produced each frame; NaN rows are the null action."""
    next_actions: Tensor
    """float32 (B, T, K), the action taken at each frame; NaN rows where none was."""
    resets: Tensor
    """bool (B, T), True at the first frame of an episode, where the memory is emptied."""
    rewards: Tensor
    """float32 (B, T), reward of the transition into each frame; NaN: unknown."""
    ends: Tensor
    """float32 (B, T), 1 where the transition out of a frame terminated, else 0; NaN: unknown."""
    states: Tensor
    """float32 (B, T, S), the supervised part of the real state; NaN: unknown."""
    changes: Tensor
    """float32 (B, T, S), change of the state into each frame; NaN: unknown."""
    next_changes: Tensor
    """float32 (B, T, S), change of the state out of each frame; NaN: unknown."""

    def to(self, device: torch.device | str) -> OutcomeBatch:
        """The same batch on another device."""
        return OutcomeBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


def outcome_columns(episode: Episode, states: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """The fields of :class:`OutcomeBatch` for one whole episode, without the batch dimension.

    Args:
        episode: ``N`` frames and ``N - 1`` or ``N`` transitions.
        states: columns of ``episode.state`` to supervise.

    Raises:
        DataError: if frames and transitions do not fit together.
    """
    count, taken = len(episode.frames), len(episode.actions)
    if taken not in (count - 1, count) or count == 0:
        raise DataError(
            f"an episode has {count} frames and {taken} actions; expected as many actions as "
            "frames, or one less. Record it again."
        )
    null = np.full((1, episode.actions.shape[1]), np.nan, np.float32)
    ends = np.asarray(episode.terminated, np.float32).copy()
    ends[np.asarray(episode.truncated, bool)] = np.nan  # cut off: what came next is not known
    known = np.asarray(episode.state, np.float32)[:, list(states)].reshape(count, len(states))
    change = np.diff(known, axis=0)
    gap = np.full((1, len(states)), np.nan, np.float32)
    nothing = np.full(1, np.nan, np.float32)
    missing = count - taken  # 1 if nothing was done at the last frame
    return {
        "frames": episode.frames,
        "actions": np.concatenate([null, episode.actions[: count - 1]]),
        "next_actions": np.concatenate([episode.actions, null[:missing]]),
        "resets": np.arange(count) == 0,
        "rewards": np.concatenate([nothing, episode.rewards[: count - 1]]),
        "ends": np.concatenate([ends, nothing[:missing]]),
        "states": known,
        "changes": np.concatenate([gap, change]),
        "next_changes": np.concatenate([change, gap]),
    }


def state_columns(source: EpisodeSource, names: Sequence[str]) -> list[int]:
    """Columns of ``Episode.state`` that hold ``names``.

    Raises:
        DataError: if a name was not recorded.
    """
    missing = [name for name in names if name not in source.state_names]
    if missing:
        raise DataError(
            f"the data set records no state named {missing}; it has {list(source.state_names)}."
        )
    return [list(source.state_names).index(name) for name in names]


def check_splits(source: EpisodeSource) -> tuple[np.ndarray, np.ndarray]:
    """The episodes of the training and the validation split.

    Raises:
        DataError: if a split is empty or an episode is in both.
    """
    train, validation = source.split("train"), source.split("validation")
    shared = np.intersect1d(train, validation)
    if len(shared):
        raise DataError(
            f"episodes {shared[:5].tolist()} are in the training and the validation split; what "
            "is measured on them would be worthless. Split the data set by episode."
        )
    if len(train) == 0 or len(validation) == 0:
        raise DataError(
            f"the data set has {len(train)} training and {len(validation)} validation episodes; "
            "both are needed. Record more episodes."
        )
    return np.asarray(train), np.asarray(validation)


class EpisodeLanes:
    """Endless batches in which each lane plays episodes one after another, from their start.

    Lane ``b`` of one batch goes on where lane ``b`` of the batch before stopped, so that the
    memory carries over and can count what happened long ago. ``position`` and the constructor's
    arguments determine everything that follows: saving it makes resuming exact.
    """

    def __init__(
        self,
        source: EpisodeSource,
        indices: np.ndarray,
        states: Sequence[int],
        *,
        lanes: int,
        length: int,
        seed: int,
        late_start_fraction: float = 0.0,
    ) -> None:
        self._source = source
        self._indices = np.asarray(indices)
        self._states = list(states)
        self._length = length
        self._seed = seed
        self._late = late_start_fraction
        # Per lane: place in the endless queue of episodes, and the next frame.
        self._lanes: list[tuple[int, int | None]] = [(lane, None) for lane in range(lanes)]
        self._queued = lanes

    @property
    def position(self) -> dict[str, Any]:
        """Where the lanes stand, JSON-able."""
        return {"lanes": [list(lane) for lane in self._lanes], "queued": self._queued}

    @position.setter
    def position(self, value: dict[str, Any]) -> None:
        self._lanes = [(ticket, frame) for ticket, frame in value["lanes"]]
        self._queued = value["queued"]

    def next(self) -> OutcomeBatch:
        """The next ``length`` frames of every lane."""
        rows = [self._advance(lane) for lane in range(len(self._lanes))]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return OutcomeBatch(**{name: torch.from_numpy(part) for name, part in stacked.items()})

    def _advance(self, lane: int) -> dict[str, np.ndarray]:
        pieces, filled = [], 0
        while filled < self._length:
            ticket, frame = self._lanes[lane]
            columns = outcome_columns(self._episode(ticket), self._states)
            count = len(columns["frames"])
            start = self._first_frame(ticket, count) if frame is None else frame
            stop = min(start + self._length - filled, count)
            piece = {name: column[start:stop] for name, column in columns.items()}
            if frame is None:
                piece["resets"] = np.arange(stop - start) == 0
            pieces.append(piece)
            filled += stop - start
            if stop == count:
                self._lanes[lane] = (self._queued, None)
                self._queued += 1
            else:
                self._lanes[lane] = (ticket, stop)
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _episode(self, ticket: int) -> Episode:
        epoch, place = divmod(ticket, len(self._indices))
        order = np.random.default_rng((self._seed, 0, epoch)).permutation(len(self._indices))
        return self._source.episode(int(self._indices[order[place]]))

    def _first_frame(self, ticket: int, count: int) -> int:
        """0, or for a few a frame in the middle: user-given frames may come without a past."""
        draw = np.random.default_rng((self._seed, 1, ticket))
        return int(draw.integers(count)) if draw.random() < self._late else 0


def whole_episodes(
    source: EpisodeSource, indices: np.ndarray, states: Sequence[int], *, batch: int
) -> Iterator[tuple[np.ndarray, OutcomeBatch]]:
    """Whole episodes of similar length in batches, the shorter ones padded with unknown targets.

    Yields the indices of the episodes (B,) and their batch.
    """
    lengths = np.array([len(source.episode(int(index)).frames) for index in indices])
    by_length = np.asarray(indices)[np.argsort(lengths, kind="stable")]
    for start in range(0, len(by_length), batch):
        chosen = by_length[start : start + batch]
        rows = [outcome_columns(source.episode(int(index)), states) for index in chosen]
        yield chosen, pad_rows(rows)


def pad_rows(rows: Sequence[dict[str, np.ndarray]]) -> OutcomeBatch:
    """Rows of different length as one batch; what is added is unknown and never counts."""
    steps = max(len(row["frames"]) for row in rows)
    padded = {}
    for name, first in rows[0].items():
        filler = np.nan if first.dtype.kind == "f" else 0
        full = np.full((len(rows), steps, *first.shape[1:]), filler, first.dtype)
        for i, row in enumerate(rows):
            full[i, : len(row[name])] = row[name]
        padded[name] = torch.from_numpy(full)
    return OutcomeBatch(**padded)
