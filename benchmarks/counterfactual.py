"""What would have happened: the real game under other actions, against the world's guess.

Recorded episodes only show what followed the actions that were taken. Here the real game is brought
back to where a clip begins (:mod:`benchmarks.real_games`) and plays on under several courses of
action, and the world imagines the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np

from agents.environments import real_environment
from benchmarks.clips import Clips
from benchmarks.dreaming import OnFrames
from benchmarks.image_metrics import changed, psnr, squared_error
from benchmarks.intervals import counted, mean_intervals, ratio_intervals
from benchmarks.pictures import write_rows
from benchmarks.real_games import RealGames
from benchmarks.real_world import RealWorld, cannot_restore, restore
from benchmarks.reality import reality_of
from world_model.errors import NFDError

REAL_CLIPS = 16
"""At most so many clips are played in the real game, from the start of their episodes on."""
SHOWN = 3
"""Clips in the picture."""


@dataclass(frozen=True)
class RealFutures:
    """What really follows ``N`` clips under each of ``A`` courses of action."""

    chosen: np.ndarray
    """int64 (N,), which of the given clips could be restored."""
    frames: np.ndarray
    """uint8 (A, N, H, h, w, 3)."""
    known: np.ndarray
    """bool (A, N, H): False from the end of the episode on."""
    tried: int
    """Clips that the game should have been brought back to."""
    why_not: str
    """Why some could not be restored; empty where all were."""


def play_courses(
    games: RealGames,
    clips: Clips,
    courses: Sequence[np.ndarray],
    on_frames: OnFrames | None = None,
) -> RealFutures:
    """Plays every course of action from where the clips begin.

    Args:
        games: the real game.
        clips: where to begin.
        courses: float32 (N, H, K) each.
        on_frames: told of every step.

    Raises:
        NFDError: if no clip can be restored.
    """
    tried = np.linspace(0, len(clips) - 1, min(REAL_CLIPS, len(clips))).astype(int)
    some = clips.take(tried)
    frames = np.zeros((len(courses), *some.frames.shape), np.uint8)
    known = np.zeros((len(courses), *some.known.shape), bool)
    found: Sequence[tuple[Any, str]] = []
    for i in range(0, len(some), games.count):  # as many at a time as there are games
        part = np.arange(len(some))[i : i + games.count]
        begun = restore(games, some.take(part))
        found = [*found, *begun]
        there = [(k, moment) for k, (moment, _) in zip(part, begun, strict=True) if moment]
        for a, course in enumerate(courses):
            moments, places = [moment for _, moment in there], [k for k, _ in there]
            for h in range(clips.horizon):
                moments = games.advance(moments, course[tried[places], h])
                for k, moment in zip(places, moments, strict=True):
                    frames[a, k, h], known[a, k, h] = moment.frame, not moment.over
                if on_frames is not None:
                    on_frames(len(places))
    restored = np.array([moment is not None for moment, _ in found])
    reasons = [why for _, why in found if why]
    lost = cannot_restore(len(reasons), len(some), reasons[0]) if reasons else ""
    if not restored.any():
        raise NFDError(lost)
    return RealFutures(tried[restored], frames[:, restored], known[:, restored], len(some), lost)


def find_games(world: Any, real_env: str | None = None) -> RealGames:
    """The real game that a world was learned from.

    Raises:
        NFDError: if it does not say which, that cannot be played here, or its spaces are others.
    """
    if isinstance(world, RealWorld):
        return world.games
    return RealGames(real_environment(reality_of(world, real_env)), world.action_spec)


def measure_counterfactual(
    real: RealFutures, clips: Clips, imagined: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Imagined against real futures under the same courses of action.

    Args:
        real: what really follows.
        clips: those of ``real.chosen``.
        imagined: uint8 (A, N, H, h, w, 3), of the same courses and clips, by equal noise.
        names: of the courses.

    Returns:
        By horizon, each with the number of clips: ``psnr`` and ``psnr_changed`` (of the pixels
        that differ from the last given frame, in truth or in imagination) of imagined futures,
        beside the last frame repeated; ``gain``, PSNR over that of what was imagined under the
        other courses; how far two futures part, ``real_apart`` and ``imagined_apart``, in grey
        levels; and how alike the effects of actions are, which are the differences between two
        futures: ``effect_cosine``, of the angle between the real and the imagined one, every clip
        equal; and ``effect_explained``, 1 minus the square of what they differ by over that of the
        real one, where large effects weigh most. Worlds that ignore actions have 0 of both.
    """
    frames, known, episodes = real.frames, real.known, clips.episodes
    courses = range(len(names))
    error = np.stack([squared_error(imagined[i], frames[i]) for i in courses])
    repeated = np.stack([squared_error(clips.last_seen, frames[i]) for i in courses])
    moved = changed(frames, clips.last_seen) | changed(imagined, clips.last_seen)
    moved &= known[..., None, None]
    pixels = moved.sum((-2, -1)).astype(np.float64)

    def of_changed(forecast: np.ndarray) -> list[Any]:
        inside = np.nan_to_num(squared_error(frames, forecast, moved)) * pixels
        return ratio_intervals(inside.sum(0), pixels.sum(0), episodes, transform=psnr)

    def apart(pairs: list[tuple[int, int]], films: np.ndarray) -> np.ndarray:
        return np.stack([np.sqrt(squared_error(films[i], films[j])) for i, j in pairs])

    pairs = list(combinations(courses, 2))
    both = np.stack([known[i] & known[j] for i, j in pairs])
    ordered = list(permutations(courses, 2))
    gains = np.stack([psnr(error[i]) - psnr(squared_error(imagined[j], frames[i]))
                      for i, j in ordered])  # fmt: skip
    square, missed = (np.zeros(known.shape[1:]) for _ in range(2))
    alike = []
    for (i, j), counts in zip(pairs, both, strict=True):
        really = frames[i].astype(np.float32) - frames[j]
        thought = imagined[i].astype(np.float32) - imagined[j]
        real_square, square_thought = (np.square(x).mean((-3, -2, -1)) for x in (really, thought))
        square += np.where(counts, real_square, 0)
        missed += np.where(counts, np.square(really - thought).mean((-3, -2, -1)), 0)
        both_sizes = np.sqrt(real_square * square_thought)
        cosine = (really * thought).mean((-3, -2, -1)) / np.where(both_sizes > 0, both_sizes, 1)
        # Where nothing really changes there is no direction; where only the world stands still, 0.
        alike.append(np.where(real_square > 0, cosine, np.nan))

    def curve(intervals: Sequence[Any], counts: np.ndarray) -> list[dict[str, Any]]:
        n = counts.any(0).sum(0)
        return [counted(interval, k) for interval, k in zip(intervals, n, strict=True)]

    def mean(values: np.ndarray, counts: np.ndarray) -> list[dict[str, Any]]:
        return curve(mean_intervals(_mean_where(values, counts), episodes), counts)

    explained = ratio_intervals(missed, square, episodes, transform=lambda ratio: 1 - ratio)
    return {
        "clips": len(clips),
        "tried": real.tried,
        "not_restored": real.why_not or None,
        "courses": list(names),
        "psnr": {"model": mean(psnr(error), known), "repeat_last": mean(psnr(repeated), known)},
        "psnr_changed": {
            "model": curve(of_changed(imagined), known),
            "repeat_last": curve(of_changed(clips.last_seen[None]), known),
        },
        "gain": mean(gains, np.stack([known[i] for i, _ in ordered])),
        "real_apart": mean(apart(pairs, frames), both),
        "imagined_apart": mean(apart(pairs, imagined), both),
        "effect_cosine": mean(np.stack(alike), both & ~np.isnan(alike)),
        "effect_explained": curve(explained, both),
    }


def write_pairs(
    path: Path, real: RealFutures, clips: Clips, imagined: np.ndarray, names: Sequence[str]
) -> None:
    """A PNG of some clips: two real futures, and below them what the world made of the same.

    Shown are the clips and courses whose real futures part the most, of different episodes.

    Raises:
        StorageError: if the file cannot be written.
    """
    pairs = list(combinations(range(len(names)), 2))
    scores = np.stack(
        [
            np.where(
                real.known[i] & real.known[j], squared_error(real.frames[i], real.frames[j]), 0
            ).sum(1)
            for i, j in pairs
        ]
    )
    blocks: dict[int, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    for k in np.argsort(-scores.max(0), kind="stable").tolist():
        i, j = pairs[int(scores[:, k].argmax())]
        rows = {f"real {names[a]}": real.frames[a, k] for a in (i, j)}
        rows |= {f"world {names[a]}": imagined[a, k] for a in (i, j)}
        blocks.setdefault(int(clips.episodes[k]), (clips.last_seen[k, 0], rows))
    write_rows(path, list(blocks.values())[:SHOWN])


def _mean_where(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what counts, NaN where nothing does."""
    total, number = np.where(counts, values, 0).sum(0), counts.sum(0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
