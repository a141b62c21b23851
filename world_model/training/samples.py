"""What a person looks at while a world trains: imagined against real, as numbers and as a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from world_model.data import EpisodeStore
from world_model.errors import DataError
from world_model.image_quality import psnr
from world_model.imagining import imagine_episodes
from world_model.provenance import Provenance
from world_model.rollout import Rollout
from world_model.video import write_video
from world_model.world import World

SEPARATOR = 2
"""Pixels between the pictures of a video."""


@dataclass(frozen=True)
class SampleReport:
    """How imagined frames compare with the real ones of held-out episodes."""

    psnr: dict[int, float]
    """Peak signal-to-noise ratio in dB, per horizon."""
    psnr_repeat_last: dict[int, float]
    """The same for repeating the last real frame."""
    video: Path
    """Top row real, bottom row imagined."""


def sample_world(
    world: World,
    store: EpisodeStore,
    video: Path,
    *,
    horizon: int = 32,
    count: int = 8,
    horizons: tuple[int, ...] = (1, 4, 16),
    device: torch.device | str = "cpu",
) -> SampleReport:
    """Imagines held-out episodes under their recorded actions; writes a side-by-side video.

    Where held-out episodes are too short for a context and one frame, training episodes stand in.

    Args:
        world: the world as trained so far.
        store: recorded episodes.
        video: where the mp4 goes.
        horizon: frames to imagine.
        count: episodes.
        horizons: at which frames to measure.
        device: where to compute.

    Raises:
        DataError: if no episode is longer than the context.
    """
    context = world.config.context_length
    episodes = [store.episode(int(i)) for i in _choose(store, context, horizon)[:count]]
    # Somewhere in the middle, where more happens than at the start.
    starts = [max(context, (len(e.frames) - horizon) // 2) for e in episodes]
    rollout = Rollout(world, device=device, termination_mode="never")
    made = imagine_episodes(rollout, episodes, starts, horizon, torch.arange(len(episodes)))
    length = min(len(sequence.frames) for sequence in made)
    real = np.stack([e.frames[s : s + length] for e, s in zip(episodes, starts, strict=True)])
    last = np.stack([e.frames[s - 1] for e, s in zip(episodes, starts, strict=True)])
    imagined = np.stack([sequence.frames[:length] for sequence in made])
    errors = _squared_error(real, imagined).mean(axis=0)
    errors_repeat = _squared_error(real, last[:, None]).mean(axis=0)
    measured = [h for h in horizons if h <= length]
    said = Provenance(world.model_id, with_real=True, player="recorded actions")
    write_video(video, _rows(real, imagined), world.config.fps, provenance=said)
    return SampleReport(
        psnr={h: psnr(errors[h - 1]) for h in measured},
        psnr_repeat_last={h: psnr(errors_repeat[h - 1]) for h in measured},
        video=video,
    )


def _choose(store: EpisodeStore, context: int, horizon: int) -> np.ndarray:
    """Indices of episodes: held-out and long enough for the horizon, if there are any."""
    wishes = [
        ("validation", context + horizon),
        ("validation", context + 1),
        ("train", context + 1),
    ]
    for split, frames in wishes:
        indices = store.split(split)
        fitting = indices[store.lengths[indices] >= frames]
        if len(fitting):
            return fitting
    raise DataError(
        f"no episode of {store.root} is longer than a context of {context} frames. Record longer "
        "episodes."
    )


def _squared_error(real: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float (episodes, frames) mean squared error of uint8 frames."""
    difference = real.astype(np.float32) - other.astype(np.float32)
    return np.square(difference).mean(axis=(2, 3, 4))


def _rows(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """(frames, height, width, 3): the episodes side by side, real above imagined."""
    pad = ((0, 0), (0, 0), (0, SEPARATOR), (0, SEPARATOR), (0, 0))
    top, bottom = (np.concatenate(list(np.pad(part, pad)), axis=2) for part in (real, imagined))
    return np.concatenate([top, bottom], axis=1)
