"""LPIPS and FVD: distances by networks that have learnt to see, whose weights the user brings.

Both networks know photographs and films of people, not games: their distances are the usual ones to
report, and no better than the others here at telling whether a world is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.clips import Clips
from benchmarks.frechet import frechet_distance
from benchmarks.i3d import I3D, SHORTEST
from benchmarks.intervals import counted, mean_intervals
from world_model.autoencoder.perceptual import PerceptualDistance
from world_model.errors import ConfigError

SMALLEST = 16
"""Pixels a side that LPIPS' network needs."""
FEWEST = 2
"""Clips without which there is no covariance."""


@dataclass(frozen=True)
class Networks:
    """What was brought."""

    lpips: PerceptualDistance | None
    """Compares frames."""
    i3d: I3D | None
    """Sees clips."""
    weights: dict[str, str]
    """``lpips_weights`` and ``fvd_weights``: the first digits of each file's SHA-256."""


def load_networks(
    lpips: Path | None,
    fvd: Path | None,
    *,
    frame_shape: tuple[int, ...],
    horizon: int,
    device: torch.device | str,
) -> Networks:
    """Loads the weights that there are, before anything is imagined in vain.

    Args:
        lpips: weights of LPIPS, see :mod:`world_model.autoencoder.perceptual`.
        fvd: weights of I3D, see :mod:`benchmarks.i3d`.
        frame_shape: of the world.
        horizon: frames of a clip.
        device: where to look.

    Raises:
        ConfigError: if a file is none of these, or frames or clips are too small for it.
    """
    if lpips is not None and min(frame_shape[:2]) < SMALLEST:
        raise ConfigError(
            f"--lpips: frames of {frame_shape[0]}x{frame_shape[1]} pixels are too small for LPIPS, "
            f"which needs {SMALLEST} a side."
        )
    if fvd is not None and horizon < SHORTEST:
        raise ConfigError(
            f"--fvd: clips of {horizon} frames are too short for I3D, which needs {SHORTEST}; "
            "raise --horizon."
        )
    distance = None if lpips is None else PerceptualDistance.from_file(lpips).to(device)
    i3d = None if fvd is None else I3D.from_file(fvd).to(device)
    files = {"lpips_weights": lpips, "fvd_weights": fvd}
    return Networks(distance, i3d, {k: _digest(path) for k, path in files.items() if path})


def measure_learned(
    networks: Networks, clips: Clips, imagined: np.ndarray, shuffled: np.ndarray, batch: int = 32
) -> dict[str, Any]:
    """``lpips`` and ``fvd`` of what was brought; nothing where nothing was.

    Args:
        networks: what looks.
        clips: the real clips.
        imagined: uint8 (N, H, h, w, 3), under their actions.
        shuffled: uint8, under the actions of other clips.
        batch: frames at a time.
    """
    last = np.broadcast_to(clips.last_seen, imagined.shape)
    found: dict[str, Any] = {}
    if networks.lpips is not None:
        forecasts = {"model": imagined, "shuffled_actions": shuffled, "repeat_last": last}
        found["lpips"] = measure_lpips(networks.lpips, clips, forecasts, batch)
    if networks.i3d is not None:
        found["fvd"] = measure_fvd(networks.i3d, clips, {"model": imagined, "repeat_last": last})
    return found


@torch.no_grad()
def measure_lpips(
    network: Any, clips: Clips, forecasts: Mapping[str, np.ndarray], batch: int = 32
) -> dict[str, list[dict[str, Any]]]:
    """LPIPS of frames at their own size to the real ones, by forecast and horizon."""
    device = next(network.parameters()).device
    rows = np.argwhere(clips.known)
    curves = {}
    for name, frames in forecasts.items():
        distances = np.full(clips.known.shape, np.nan)
        for part in np.split(rows, np.arange(batch, len(rows), batch)):
            at = tuple(part.T)
            pair = [_signed(f[at]).to(device) for f in (frames, clips.frames)]
            distances[at] = network(*pair).cpu().numpy()
        intervals = mean_intervals(distances, clips.episodes)
        curves[name] = [counted(i, n) for i, n in zip(intervals, clips.known.sum(0), strict=True)]
    return curves


def measure_fvd(network: Any, clips: Clips, forecasts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """FVD of forecasts to the real clips, of those that are known to their last frame.

    Args:
        network: with ``features`` as of :class:`benchmarks.i3d.I3D`.
        clips: the real clips.
        forecasts: uint8 (N, H, h, w, 3) each.

    Returns:
        ``frames`` a clip, ``clips`` on either side, the distance of each forecast, and
        ``real_halves``: that of half of the real clips to the other half (other episodes where
        there are several), which is mostly what so few clips make of no difference at all. None
        has an interval: a bootstrap of a figure that is too high by chance is wrong itself. Where
        there are too few clips there is a ``why_not`` instead.
    """
    whole = np.flatnonzero(clips.known.all(1))
    shown = {"clips": len(whole), "frames": clips.horizon}
    if len(whole) < 2 * FEWEST:
        return {**shown, "why_not": f"only {len(whole)} clips are known to their last frame"}
    real = network.features(clips.frames[whole])
    # Clips are in the order of their episodes: the halves share at most one.
    half = len(whole) // 2
    order = np.argsort(clips.episodes[whole], kind="stable")
    distances = {
        name: (frechet_distance(real, network.features(frames[whole])), len(whole))
        for name, frames in forecasts.items()
    }
    halves = frechet_distance(real[order[:half]], real[order[half : 2 * half]])
    distances["real_halves"] = (halves, half)
    return {
        **shown,
        "distance": {
            name: {"estimate": value, "low": None, "high": None, "n": n}
            for name, (value, n) in distances.items()
        },
    }


def _signed(frames: np.ndarray) -> torch.Tensor:
    """Frames uint8 (N, h, w, 3) as (N, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
