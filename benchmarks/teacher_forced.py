"""Frames imagined in one step from the real ones before them, beside free-running ones.

What is wrong after one step is the world's own mistake there; what a free-running rollout gets
wrong beyond it at the same step has come together on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.clips import Clips
from benchmarks.dreaming import imagine, noise_seeds
from benchmarks.fidelity_measures import frame_psnr, frame_similarity
from benchmarks.intervals import mean_intervals
from world_model.errors import NFDError
from world_model.types import Context

NEEDS_MORE = (
    "it cannot begin within a clip from frames and actions alone, and so has no frames imagined in "
    "one step from real ones"
)


def forced_steps(horizon: int) -> list[int]:
    """The steps that are looked at, counted from 1: powers of two, and the last one.

    Every one of them needs a context of its own, which is twice the work of a step; errors come
    together slowly enough to leave out those between.

    >>> forced_steps(16)
    [1, 2, 4, 8, 16]
    >>> forced_steps(6)
    [1, 2, 4, 6]
    """
    return sorted({*(2**i for i in range(horizon.bit_length())), horizon})


def frames_to_force(rollout: Any, clips: Clips) -> int:
    """Frames that :func:`measure_teacher_forced` imagines."""
    if hasattr(rollout, "begin_clips"):
        return 0
    return int(sum(clips.known[:, step - 1].sum() for step in forced_steps(clips.horizon)[1:]))


def later(clips: Clips, steps: int) -> Clips:
    """The clips ``steps`` real steps later: as long a real context, and the one step after it.

    Their outcome model remembers nothing of the time before, which frames do not depend on.
    """
    length = clips.context.frames.shape[1]
    frames = torch.cat([clips.context.frames, torch.from_numpy(clips.frames.copy())], dim=1)
    actions = torch.cat([clips.context.actions, torch.from_numpy(clips.actions.copy())], dim=1)
    seen, one = slice(steps, steps + length), slice(steps, steps + 1)
    return replace(
        clips,
        context=Context(frames[:, seen], actions[:, seen]),
        actions=clips.actions[:, one],
        frames=clips.frames[:, one],
        known=clips.known[:, one],
        ended=clips.ended[:, one],
        rewards=clips.rewards[:, one],
        labels=None if clips.labels is None else clips.labels[:, one],
        starts=clips.starts + steps,
        origins=(),
    )


def imagine_forced(
    rollout: Any, clips: Clips, steps: list[int], seed: int, **options: Any
) -> Iterator[tuple[np.ndarray, Clips, np.ndarray]]:
    """Each of ``steps`` imagined from the real frames before it, where these are known.

    Args:
        rollout: what imagines; it begins with frames and actions alone.
        clips: whose real frames are the past.
        steps: counted from 1.
        seed: of the noise, which each clip has as in :func:`benchmarks.dreaming.imagine_true`.
        options: of :func:`benchmarks.dreaming.imagine`.

    Yields:
        For each step int64 (n,), which clips; these as clips of one step; uint8 (n, 1, h, w, 3).
    """
    seeds = noise_seeds(len(clips), seed)
    for step in steps:
        which = np.flatnonzero(clips.known[:, step - 1])
        one = later(clips.take(which), step - 1)
        frames = imagine(rollout, one, seeds[which], **options).frames
        yield which, one, frames


def measure_teacher_forced(
    rollout: Any, clips: Clips, imagined: np.ndarray, seed: int, **options: Any
) -> dict[str, Any]:
    """PSNR and SSIM of one step from real frames, beside those of free-running ones.

    Args:
        rollout: what imagines.
        clips: the clips.
        imagined: uint8 (N, H, h, w, 3), free-running by :func:`benchmarks.dreaming.imagine_true`
            with the same seed.
        seed: of the noise.
        options: of :func:`benchmarks.dreaming.imagine`.

    Returns:
        ``psnr`` and ``ssim``, each with curves ``one_step`` and ``free_running`` of H intervals
        (NaN at steps other than :func:`forced_steps`); ``accumulated``, the mean over clips of what
        each loses from the first to the second, by figure. Of a rollout that cannot begin within
        a clip ``why_not``.
    """
    if hasattr(rollout, "begin_clips"):
        return {"why_not": NEEDS_MORE}
    steps = forced_steps(clips.horizon)
    measures = {"psnr": frame_psnr, "ssim": frame_similarity}
    one_step = {name: np.full(clips.known.shape, np.nan) for name in measures}
    free = {name: of(clips, imagined) for name, of in measures.items()}
    for name in measures:  # the first step of a clip is one from real frames
        one_step[name][:, 0] = free[name][:, 0]
    try:
        for step, (which, one, frames) in zip(
            steps[1:], imagine_forced(rollout, clips, steps[1:], seed, **options), strict=True
        ):
            for name, of in measures.items():
                one_step[name][which, step - 1] = of(one, frames)[:, 0]
    except NFDError as error:  # somebody's environment may begin where it likes
        return {"why_not": f"{NEEDS_MORE}: {error}"}
    found: dict[str, Any] = {"accumulated": {}}
    for name in measures:
        left = one_step[name] - free[name]
        beside = np.where(np.isnan(one_step[name]), np.nan, free[name])
        found[name] = {
            "one_step": mean_intervals(one_step[name], clips.episodes),
            "free_running": mean_intervals(beside, clips.episodes),
        }
        found["accumulated"][name] = mean_intervals(left, clips.episodes)
    return found
