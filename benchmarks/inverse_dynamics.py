"""Reads the action off two consecutive frames: are imagined actions seen to be done?

Small classifiers, from several seeds, learn to tell the action between two real frames of the
training split. What they read in imagined pairs is held against what was asked for, beside its
ceiling (real pairs of the same steps) and its floor (the same imagined pairs against the actions of
other clips).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.statistics import Interval
from benchmarks.clips import Clips
from benchmarks.dreaming import borrowed_actions
from benchmarks.intervals import counted, sums_interval
from benchmarks.pairs_of_frames import PairFeatures, rows_before_another, train_on_pairs
from world_model.action_spec import ActionSpec
from world_model.data.store import EpisodeStore
from world_model.errors import DataError


@dataclass(frozen=True)
class Choice:
    """One categorical part of the actions."""

    name: str
    """What the action space calls it."""
    column: int
    """Where it is in an encoded action."""
    labels: tuple[str, ...]
    """What there is to choose."""


def choices(spec: ActionSpec) -> list[Choice]:
    """The categorical parts of an action space; numbers of a Box are none."""
    found, column = [], 0
    for group in spec.groups:
        if group.kind == "categorical":
            found.append(Choice(group.name, column, tuple(group.labels)))
        column += group.columns
    return found


class ActionReader(nn.Module):
    """Scores the actions that may have led from one frame to the next.

    Args:
        frame_shape: height, width, channels.
        parts: what there is to choose; each gets a head of its own.
    """

    def __init__(self, frame_shape: tuple[int, int, int], parts: list[Choice]) -> None:
        super().__init__()
        self.parts = parts
        self.body = PairFeatures(frame_shape)
        self.heads = nn.ModuleList(nn.Linear(self.body.width, len(part.labels)) for part in parts)

    def forward(self, before: Tensor, after: Tensor, shift: Tensor | None = None) -> list[Tensor]:
        """Logits (N, choices) of every part; arguments as of :class:`PairFeatures`."""
        features = self.body(before, after, shift)
        return [head(features) for head in self.heads]


def train_reader(
    store: EpisodeStore,
    parts: list[Choice],
    *,
    steps: int,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> ActionReader:
    """An :class:`ActionReader` trained on pairs of real frames of the training split.

    Args:
        store: the data set.
        parts: what to read.
        steps: optimiser steps, of :data:`benchmarks.pairs_of_frames.BATCH` pairs each.
        seed: of weights and pairs.
        device: where to train.
        on_step: called with 1 after every step.

    Raises:
        DataError: if no training episode has two frames.
    """
    rows = rows_before_another(store, "train")
    if not len(rows):
        raise DataError(f"no training episode of {store.root} has two frames to read actions off.")

    def loss_of(
        reader: ActionReader, chosen: np.ndarray, before: Tensor, after: Tensor, shift: Tensor
    ) -> Tensor:
        logits = reader(before, after, shift)
        return torch.stack(
            [
                F.cross_entropy(scores, _wanted(store.actions[chosen], part).to(device))
                for scores, part in zip(logits, parts, strict=True)
            ]
        ).sum()

    return train_on_pairs(
        lambda: ActionReader(store.frame_shape, parts),
        store,
        rows,
        loss_of,
        steps=steps,
        seed=seed,
        device=device,
        on_step=on_step,
    )


@torch.no_grad()
def read_actions(reader: ActionReader, clips: Clips, frames: np.ndarray) -> list[np.ndarray]:
    """The likeliest choice at every step, int64 (N, H), of every part of the actions.

    Args:
        reader: reads pairs.
        clips: whose last context frame is before the first of ``frames``.
        frames: uint8 (N, H, h, w, 3), real or imagined.
    """
    film = np.concatenate([clips.last_seen, frames], axis=1)
    device = next(reader.parameters()).device
    read: list[list[Tensor]] = []
    for clip in film:
        pictures = torch.from_numpy(clip).to(device)
        read.append([scores.argmax(1).cpu() for scores in reader(pictures[:-1], pictures[1:])])
    return [torch.stack(part).numpy() for part in zip(*read, strict=True)]


def score_reading(
    readers: Sequence[ActionReader], clips: Clips, imagined: np.ndarray, seed: int
) -> dict[str, Any]:
    """Macro F1 of the actions read, by part of the action space.

    Args:
        readers: of the same parts, from different seeds; the F1 is that of all that they read, and
            its intervals draw readers as well as episodes.
        clips: the real clips.
        imagined: uint8 (N, H, h, w, 3), imagined under their actions.
        seed: of the loan of other clips' actions.

    Returns:
        By name of the part: F1 of ``imagined`` pairs, its ``ceiling`` and its ``floor``;
        ``of_ceiling``, where the first lies between the others (1: as clear as in reality; None
        where reality does not show the action either); F1 ``by_horizon``; ``recall`` of every
        choice; and the estimates of each reader, ``by_reader``.
    """
    other = borrowed_actions(clips, seed)
    # By part of the actions: (S, N, H) of S readers.
    real_read, dream_read = (
        [np.stack(read) for read in zip(*(read_actions(r, clips, f) for r in readers), strict=True)]
        for f in (clips.frames, imagined)
    )
    results = {}
    for i, part in enumerate(readers[0].parts):
        true, borrowed = (_wanted(a, part).numpy() for a in (clips.actions, other))
        count = len(part.labels)
        tables = {
            "ceiling": _confusion(true, real_read[i], clips.known, count),
            "imagined": _confusion(true, dream_read[i], clips.known, count),
            "floor": _confusion(borrowed, dream_read[i], clips.known, count),
        }
        results[part.name] = _figures(tables, part, clips.episodes)
    return results


def _figures(tables: dict[str, np.ndarray], part: Choice, episodes: np.ndarray) -> dict[str, Any]:
    """The figures of one part, of its confusions (S, N, H, K, K) by S readers."""
    n = int(tables["imagined"][0].sum())
    present = tables["ceiling"].sum((0, 1, 2, 4)) > 0
    totals = {name: table.sum(2) for name, table in tables.items()}  # (S, N, K, K)

    def of_all(sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
        return sums_interval(sums, episodes, statistic, networks=True)

    def f1(s: np.ndarray) -> np.ndarray:
        return macro_f1(s, present)

    scores: dict[str, Any] = {name: counted(of_all(table, f1), n) for name, table in totals.items()}
    ceiling, floor = scores["ceiling"], scores["floor"]
    # Where an interval has no ends, the estimates must do.
    low, high = ceiling["low"], floor["high"]
    readable = (
        ceiling["estimate"] > floor["estimate"] if np.isnan(low) or np.isnan(high) else low > high
    )
    together = np.stack(list(totals.values()), axis=2)  # (S, N, 3, K, K)

    def between(s: np.ndarray) -> np.ndarray:
        top, ours, bottom = (f1(s[:, i]) for i in range(3))
        return (ours - bottom) / (top - bottom)

    scores["of_ceiling"] = counted(of_all(together, between), n) if readable else None
    scores["by_horizon"] = {
        name: [
            counted(of_all(tables[name][:, :, h], f1), tables[name][0, :, h].sum())
            for h in range(tables[name].shape[2])
        ]
        for name in ("imagined", "ceiling")
    }
    scores["recall"] = {
        label: {
            name: counted(of_all(totals[name], _recall(k)), totals[name][0, :, k].sum())
            for name in ("imagined", "ceiling")
        }
        for k, label in enumerate(part.labels)
    }
    scores["by_reader"] = {
        name: f1(table.sum(1)).tolist() for name, table in totals.items() if name != "floor"
    }
    return scores


def macro_f1(confusion: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that are ``present``, of counts (R, true, read); NaN of none."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    scores = 2 * hits[:, present] / (confusion.sum(-1) + confusion.sum(-2))[:, present]
    # A class that a bootstrap sample lacks does not count in it.
    known = ~np.isnan(scores)
    return np.where(known, scores, 0.0).sum(-1) / known.sum(-1)


def _recall(k: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda s: s[:, k, k] / s[:, k].sum(-1)


def _confusion(true: np.ndarray, read: np.ndarray, known: np.ndarray, count: int) -> np.ndarray:
    """float64 (S, N, H, K, K): 1 at [true, read] of every known step; ``read`` (S, N, H)."""
    table = np.eye(count)[true][..., :, None] * np.eye(count)[read][..., None, :]
    return table * known[..., None, None]


def _wanted(actions: np.ndarray, part: Choice) -> Tensor:
    return torch.from_numpy(actions[..., part.column].astype(np.int64))
