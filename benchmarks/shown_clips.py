"""Clips to look at: the best, the median and the worst, and one start under several actions."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clips import Clips
from benchmarks.dreaming import imagine, noise_seeds
from benchmarks.image_metrics import psnr, squared_error
from benchmarks.pictures import (
    eventful,
    write_comparison,
    write_rows,
    write_side_by_side,
    write_strip,
)
from world_model.action_spec import ActionSpec

ROLES = ("best", "median", "worst")
STARTS = 3
"""Starts that are shown under several actions."""
HELD = 3
"""Actions that are held from each of them."""
FEW = 32
"""Recorded actions that are no more than so many are taken as a list of choices."""


def write_clips(
    out: Path,
    tag: str,
    clips: Clips,
    imagined: np.ndarray,
    fps: float,
    *,
    world: str | None = None,
) -> list[dict[str, Any]]:
    """Films and strips of the best, the median and the worst clip.

    Args:
        out: the folder; files are called ``ROLE-TAG.mp4`` and ``.png``.
        tag: what else is in the names.
        clips: what really happened.
        imagined: uint8 (N, H, h, w, 3).
        fps: of the films.
        world: ``model_id`` of the world that imagined them, which the files then say.

    Returns:
        Of each its role, place in the data, errors and files.

    Raises:
        StorageError: if a file cannot be written.
    """
    errors = {
        "psnr": mean_error(clips, imagined),
        "psnr_repeat_last": mean_error(clips, clips.last_seen),
    }
    shown = []
    for role, i in by_error(clips, errors["psnr"]).items():
        film, strip = f"{role}-{tag}.mp4", f"{role}-{tag}.png"
        write_comparison(out / film, clips, imagined, fps, i, world=world)
        write_strip(out / strip, clips, imagined, [i], world=world)
        shown.append(
            {
                "role": role,
                "film": film,
                "strip": strip,
                "episode": int(clips.episodes[i]),
                "start": int(clips.starts[i]),
                "steps": int(clips.known[i].sum()),
                "of": int(clips.known.all(1).sum()) or len(clips),
                **{name: float(psnr(error[i])) for name, error in errors.items()},
            }
        )
    return shown


def mean_error(clips: Clips, frames: np.ndarray) -> np.ndarray:
    """Mean squared error of each clip over the steps that are known, float64 (N,)."""
    error = squared_error(clips.frames, frames)
    known = np.maximum(clips.known.sum(1), 1)
    mean: np.ndarray = np.where(clips.known, error, 0).sum(1) / known
    return mean


def by_error(clips: Clips, errors: np.ndarray) -> dict[str, int]:
    """Place of the best, the median and the worst clip, of those that are known to their end.

    Where no clip is, all of them count.
    """
    whole = np.flatnonzero(clips.known.all(1))
    places = whole if len(whole) else np.arange(len(clips))
    order = places[np.argsort(errors[places], kind="stable")]
    return {
        role: int(order[place])
        for role, place in zip(ROLES, (0, (len(order) - 1) // 2, -1), strict=True)
    }


def write_counterfactuals(
    out: Path,
    tag: str,
    rollout: Any,
    clips: Clips,
    spec: ActionSpec,
    fps: float,
    seed: int,
    batch: int,
    *,
    world: str | None = None,
) -> list[dict[str, Any]]:
    """Films and strips of some starts, each under several held actions and the same noise.

    Starts are chosen by what really happened, actions by how often they were recorded: not by how
    well they tell apart.

    Returns:
        Of each start its place in the data, the actions, the files, and for every pair of actions
        how far apart their frames are at the last step, in grey levels. Empty where the recorded
        actions are all the same.

    Raises:
        StorageError: if a file cannot be written.
    """
    held = choose_actions(clips.actions)
    if len(held) < 2:
        return []
    starts = np.array(eventful(clips, STARTS))
    count, horizon = len(starts), clips.horizon
    # The noise of a start is that of the same clip under its true actions.
    seeds = np.tile(noise_seeds(len(clips), seed)[starts], len(held))
    actions = np.repeat(held, count, axis=0)[:, None].repeat(horizon, axis=1)
    repeated = clips.take(np.tile(starts, len(held)))
    frames = imagine(rollout, repeated, seeds, actions=actions, batch=batch).frames
    films = frames.reshape(len(held), count, *frames.shape[1:])
    names = [spec.describe(action) for action in held]
    shown = []
    for place, i in enumerate(starts.tolist()):
        named = {name: films[k, place] for k, name in enumerate(names)}
        film, strip = f"actions-{place + 1}-{tag}.mp4", f"actions-{place + 1}-{tag}.png"
        write_side_by_side(out / film, named, fps, world=world)
        write_rows(out / strip, [(clips.last_seen[i, 0], named)], world=world)
        last = {name: part[-1].astype(np.float64) for name, part in named.items()}
        shown.append(
            {
                "actions": names,
                "film": film,
                "strip": strip,
                "episode": int(clips.episodes[i]),
                "start": int(clips.starts[i]),
                "steps": horizon,
                "apart": [
                    {"first": a, "second": b, "difference": float(abs(last[a] - last[b]).mean())}
                    for a, b in combinations(names, 2)
                ],
            }
        )
    return shown


def choose_actions(recorded: np.ndarray, count: int = HELD) -> np.ndarray:
    """Some different actions (A, K) of recorded ones (..., K).

    The most frequent ones where there are few, or else ones far from each other: the first is the
    one nearest to the middle, each further one the farthest from those before.
    """
    flat = recorded.reshape(-1, recorded.shape[-1])
    different, times = np.unique(flat, axis=0, return_counts=True)
    if len(different) <= FEW:
        # In the order of the space, so that neighbours in it are neighbours in the picture.
        return different[np.sort(np.argsort(-times, kind="stable")[:count])]
    scaled = (different - flat.mean(0)) / np.maximum(flat.std(0), 1e-6)
    chosen = [int(np.square(scaled).sum(1).argmin())]
    while len(chosen) < count:
        gaps = np.square(scaled[:, None] - scaled[chosen]).sum(-1).min(1)
        chosen.append(int(gaps.argmax()))
    return different[chosen]
