"""Everything that is measured of one world with one number of sampling steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.clips import Clips
from benchmarks.detector import Detector, calibrate_detector, calibration_frames
from benchmarks.dreaming import OnFrames, imagine, noise_seeds, same_actions
from benchmarks.dreaming import sample_futures as sample
from benchmarks.image_metrics import (
    blur,
    changed,
    energy_score,
    psnr,
    similarity,
    squared_error,
)
from benchmarks.intervals import mean_intervals, ratio_intervals
from benchmarks.small_things import (
    Forecasts,
    Presence,
    counts_over_time,
    error_inside,
    judge,
    presence,
)
from world_model.data.store import EpisodeStore

CALIBRATION_FRAMES = 800


@dataclass(frozen=True)
class KnownClass:
    """A class of objects that the data set labels, and what finds them in any frame."""

    index: int
    """In the labels."""
    detector: Detector
    """Calibrated on training frames."""
    on_real_frames: Presence
    """How well it does on real frames that it was not calibrated on."""


def find_classes(store: EpisodeStore, split: str, seed: int) -> dict[str, KnownClass]:
    """The labelled classes by name; none where the data set has no labels."""
    if store.labels is None:
        return {}
    frames, labels = calibration_frames(store, "train", CALIBRATION_FRAMES, seed)
    unseen, truth = calibration_frames(store, split, CALIBRATION_FRAMES, seed + 1)
    found = {}
    for index, name in sorted(store.info.label_classes.items()):
        if index == 0 or not (labels == index).any():
            continue
        detector = calibrate_detector(frames, labels == index, seed)
        marks, true = detector.find(unseen)[:, None], (truth == index)[:, None]
        always = np.ones((len(unseen), 1), bool)
        quality = judge(marks, true, always, np.arange(len(unseen)))
        found[name] = KnownClass(index, detector, quality)
    return found


def frame_psnr(clips: Clips, frames: np.ndarray) -> np.ndarray:
    """PSNR of forecasts of the clips' frames, in dB, float64 (N, H); NaN where nothing is known."""
    return np.where(clips.known, psnr(squared_error(clips.frames, frames)), np.nan)


def frame_similarity(clips: Clips, frames: np.ndarray) -> np.ndarray:
    """SSIM of forecasts of the clips' frames, float64 (N, H); NaN where nothing is known."""
    found = np.full(clips.known.shape, np.nan)
    frames = np.broadcast_to(frames, clips.frames.shape)
    found[clips.known] = similarity(clips.frames[clips.known], frames[clips.known])
    return found


def measure_frames(clips: Clips, imagined: np.ndarray, shuffled: np.ndarray) -> dict[str, Any]:
    """PSNR of whole frames and of what changed, and SSIM, beside the baselines, by horizon."""
    forecasts: Forecasts = {
        "model": imagined,
        "shuffled_actions": shuffled,
        "repeat_last": clips.last_seen,
        "blurred": blur(imagined),
    }
    unknown = ~clips.known
    moved = changed(clips.frames, clips.last_seen) | changed(imagined, clips.last_seen)
    moved &= clips.known[..., None, None]
    pixels = moved.sum((-2, -1)).astype(np.float64)
    errors, each, pooled, of_changed = {}, {}, {}, {}
    for name, frames in forecasts.items():
        error = squared_error(clips.frames, frames)
        errors[name] = error
        each[name] = np.where(unknown, np.nan, psnr(error))
        pooled[name] = ratio_intervals(
            np.where(unknown, 0, error), clips.known, clips.episodes, transform=psnr
        )
        inside = np.nan_to_num(squared_error(clips.frames, frames, moved)) * pixels
        of_changed[name] = ratio_intervals(inside, pixels, clips.episodes, transform=psnr)
    baselines = ("repeat_last", "shuffled_actions", "blurred")
    return {
        "psnr": {name: mean_intervals(value, clips.episodes) for name, value in each.items()},
        "psnr_gain_over": {
            name: mean_intervals(each["model"] - each[name], clips.episodes) for name in baselines
        },
        "ssim": {
            name: mean_intervals(frame_similarity(clips, forecasts[name]), clips.episodes)
            for name in ("model", "shuffled_actions", "repeat_last")
        },
        "psnr_pooled": pooled,
        "psnr_changed": of_changed,
        "changed_share": ratio_intervals(
            pixels, clips.known * float(np.prod(moved.shape[2:])), clips.episodes
        ),
        "counts": {
            "clips": clips.known.sum(0),
            "episodes": [len(np.unique(clips.episodes[known])) for known in clips.known.T],
        },
    }


def measure_samples(clips: Clips, samples: np.ndarray) -> dict[str, Any]:
    """Best of several samples, their mean, and the energy score, by horizon.

    Where the future is random PSNR rewards blur, as the mean of the samples shows; the energy score
    does not. The best sample is chosen anew at every horizon.
    """
    count, unknown = samples.shape[1], ~clips.known
    mean = samples.astype(np.float32).mean(1).round().astype(np.uint8)

    def distance(frames: np.ndarray) -> np.ndarray:
        return np.where(unknown, np.nan, np.sqrt(squared_error(clips.frames, frames)))

    every = np.stack([frame_psnr(clips, samples[:, s]) for s in range(count)])
    rows = {
        "one_sample": every[0],
        f"best_of_{count}": every.max(0),
        f"mean_of_{count}": frame_psnr(clips, mean),
        "repeat_last": frame_psnr(clips, clips.last_seen),
    }
    scores = {
        "samples": np.where(unknown, np.nan, energy_score(samples, clips.frames)),
        f"mean_of_{count}": distance(mean),
        "repeat_last": distance(clips.last_seen),
    }
    return {
        "clips": len(clips),
        "psnr": {name: mean_intervals(value, clips.episodes) for name, value in rows.items()},
        "energy_score": {
            name: mean_intervals(value, clips.episodes) for name, value in scores.items()
        },
    }


def measure_small_things(
    clips: Clips, imagined: np.ndarray, classes: Mapping[str, KnownClass]
) -> dict[str, Any]:
    """Error inside the labelled pixels, and presence of the objects, by class and horizon."""
    forecasts: Forecasts = {
        "model": imagined,
        "repeat_last": clips.last_seen,
        "blurred": blur(imagined),
    }
    return {
        name: {
            "rmse_inside": error_inside(clips, forecasts, known.index),
            "presence": {
                who: result.to_dict()
                for who, result in presence(
                    clips, {"real_frames": clips.frames, **forecasts}, known.index, known.detector
                ).items()
            },
            "detector_on_real_frames": {
                key: value[0] for key, value in known.on_real_frames.to_dict().items()
            },
        }
        for name, known in classes.items()
    }


def measure_long_rollouts(
    rollout: Any, clips: Clips, classes: Mapping[str, KnownClass], seed: int, **options: Any
) -> tuple[dict[str, Any], np.ndarray]:
    """How many objects long rollouts show, beside the real episodes of the same actions."""
    dream = imagine(rollout, clips, noise_seeds(len(clips), seed), **options)
    figures = {
        name: counts_over_time(
            clips.frames, dream.frames, clips.known, known.detector, clips.episodes
        )
        for name, known in classes.items()
    }
    content = {"rollouts": len(clips), "frames": int(clips.known.sum()), "objects": figures}
    return content, dream.frames


def measure_all(
    rollout: Any,
    clips: Clips,
    imagined: np.ndarray,
    shuffled: np.ndarray,
    long_clips: Clips,
    classes: Mapping[str, KnownClass],
    *,
    samples: int,
    sampled_clips: int,
    seed: int,
    batch: int,
    on_frames: OnFrames,
) -> tuple[dict[str, Any], np.ndarray]:
    """All of the above of clips imagined under their own and under other actions.

    Also the imagined frames of ``long_clips``.
    """
    options: dict[str, Any] = {"batch": batch, "on_frames": on_frames}
    results = measure_frames(clips, imagined, shuffled)
    results["counts"]["same_actions"] = same_actions(clips, seed)
    some = clips.take(np.linspace(0, len(clips) - 1, min(sampled_clips, len(clips))).astype(int))
    if samples > 1:
        futures = sample(rollout, some, samples, seed + 1, **options)
        results["samples"] = measure_samples(some, futures)
    if clips.labels is not None:
        results["small_things"] = measure_small_things(clips, imagined, classes)
    results["long_rollouts"], long_frames = measure_long_rollouts(
        rollout, long_clips, classes, seed + 2, **options
    )
    return results, long_frames
