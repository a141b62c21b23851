"""Whether the predicted probability that an episode ends is right on imagined frames."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from benchmarks.clips import Clips
from benchmarks.intervals import ratio_intervals
from world_model.outcome_metrics import binary_metrics

BINS = 10


def score_hazard(
    probability: np.ndarray, ended: np.ndarray, episodes: np.ndarray
) -> dict[str, Any]:
    """Scores hazards (N, H) against what happened (N, H): 1, 0, or NaN where unknown.

    Steps after the end of an episode are unknown, so each step is asked of a living player.

    Returns:
        ``ends`` (real ones), ``expected_ends`` (sum of hazards), ``ratio`` of the second to the
        first with its interval (infinite where nothing ended), ``scores`` (see
        :class:`world_model.outcome_metrics.BinaryMetrics`; None where nothing, or everything,
        ended) and ``bins`` of equally many steps for a reliability plot.
    """
    known = ~np.isnan(ended)
    happened = np.where(known, ended, 0.0)
    expected = np.where(known, probability, 0.0)
    ratio = ratio_intervals(
        expected.sum(1, keepdims=True), happened.sum(1, keepdims=True), episodes
    )[0]
    both = 0 < happened.sum() < known.sum()
    scores = asdict(binary_metrics(probability[known], ended[known])) if both else None
    return {
        "steps": int(known.sum()),
        "ends": int(happened.sum()),
        "expected_ends": float(expected.sum()),
        "ratio": ratio.to_dict(),
        "scores": scores,
        "bins": reliability_bins(probability[known], ended[known]),
    }


def reliability_bins(
    probability: np.ndarray, happened: np.ndarray, bins: int = BINS
) -> list[dict[str, float]]:
    """Mean prediction and mean outcome of equally many steps each, from unlikely to likely."""
    order = np.argsort(probability, kind="stable")
    return [
        {
            "predicted": float(probability[part].mean()),
            "observed": float(happened[part].mean()),
            "steps": len(part),
        }
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    ]


@torch.no_grad()
def hazard_on_real_frames(world: Any, clips: Clips) -> np.ndarray | None:
    """The same hazards (N, H) with real frames to look at; None for a world without outcomes."""
    model = world.outcome
    if model is None:
        return None
    device = next(model.parameters()).device
    memory = clips.context.outcome_memory
    memory = model.initial_memory(len(clips), device=device) if memory is None else memory
    memory = memory.to(device)
    for i in range(clips.context.frames.shape[1]):
        seen, produced = clips.context.frames[:, i], clips.context.actions[:, i]
        memory = model.observe(memory, seen.to(device), produced.to(device))
    hazards = []
    for h in range(clips.horizon):
        action = torch.from_numpy(clips.actions[:, h].copy()).to(device)
        hazards.append(model.termination_logits(memory, action).sigmoid().cpu().numpy())
        frames = torch.from_numpy(clips.frames[:, h].copy()).to(device)
        memory = model.observe(memory, frames, action)
    return np.stack(hazards, axis=1)
