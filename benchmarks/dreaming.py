"""Clips imagined from a real context, and the outcomes that a world sees in real frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.clips import Clips
from nfd_env.loading import load_rollout

OnFrames = Callable[[int], None]
"""Called with the number of frames that were just imagined, for progress."""


@dataclass(frozen=True)
class Outcomes:
    """What a world says that the ``H`` steps of ``N`` clips earn, and whether they are the last."""

    rewards: np.ndarray
    """float32 (N, H), of the step leading to each frame."""
    termination_probability: np.ndarray
    """float32 (N, H), that this step ends the episode."""


@dataclass(frozen=True)
class Dream(Outcomes):
    """What was imagined for ``N`` clips of ``H`` steps."""

    frames: np.ndarray
    """uint8 (N, H, h, w, 3)."""
    uncertainty: np.ndarray
    """float32 (N, H), of each step, see :class:`world_model.types.StepOutcome`."""


@torch.no_grad()
def imagine(
    rollout: Any,
    clips: Clips,
    seeds: np.ndarray,
    *,
    actions: np.ndarray | None = None,
    batch: int = 32,
    on_frames: OnFrames | None = None,
) -> Dream:
    """Imagines every clip from its context on; nothing real is seen after it.

    Args:
        rollout: what imagines, see :class:`world_model.protocol.RolloutProtocol`. One that needs
            more than frames to begin with has a method ``begin_clips(clips, seeds)`` as well.
        clips: contexts, and the actions that were taken.
        seeds: int64 (N,), noise seed of each clip.
        actions: float32 (N, H, K) to take instead of the clips' own.
        batch: streams at a time; fewer where the rollout has ``max_streams``.
        on_frames: see :data:`OnFrames`.
    """
    batch = min(batch, getattr(rollout, "max_streams", batch))
    actions = clips.actions if actions is None else actions
    frames = np.empty_like(clips.frames)
    rewards, probability, unsure = (np.empty(clips.ended.shape, np.float32) for _ in range(3))
    for first in range(0, len(clips), batch):
        part = slice(first, first + batch)
        state = begin(rollout, clips, seeds, np.arange(len(clips))[part])
        for h in range(clips.horizon):
            state, outcome = rollout.advance(state, torch.from_numpy(actions[part, h].copy()))
            frames[part, h] = outcome.frames.cpu().numpy()
            rewards[part, h] = outcome.rewards.cpu().numpy()
            probability[part, h] = outcome.termination_probability.cpu().numpy()
            unsure[part, h] = outcome.uncertainty.cpu().numpy()
            if on_frames is not None:
                on_frames(len(outcome.frames))
    return Dream(rewards, probability, frames, unsure)


def begin(rollout: Any, clips: Clips, seeds: np.ndarray, chosen: np.ndarray) -> Any:
    """The state in which ``rollout`` begins some of the clips."""
    some, noise = clips.take(chosen), torch.from_numpy(np.array(seeds[chosen], np.int64))
    if hasattr(rollout, "begin_clips"):
        return rollout.begin_clips(some, noise)
    return rollout.begin(some.context, noise)


@torch.no_grad()
def watch(world: Any, clips: Clips) -> Outcomes | None:
    """The outcomes that the world sees in real frames; None for one that has no eye for them.

    Teacher-forced, as against :func:`imagine`: what is wrong here is not the fault of the frames.
    """
    model = getattr(world, "outcome", None)
    if model is None:
        return None
    device = next(model.parameters()).device
    memory = clips.context.outcome_memory
    memory = model.initial_memory(len(clips), device=device) if memory is None else memory
    memory = memory.to(device)
    for i in range(clips.context.frames.shape[1]):
        seen, produced = clips.context.frames[:, i], clips.context.actions[:, i]
        memory = model.observe(memory, seen.to(device), produced.to(device))
    rewards, hazards = [], []
    for h in range(clips.horizon):
        action = torch.from_numpy(clips.actions[:, h].copy()).to(device)
        hazards.append(model.termination_logits(memory, action).sigmoid().cpu().numpy())
        frames = torch.from_numpy(clips.frames[:, h].copy()).to(device)
        memory = model.observe(memory, frames, action)
        rewards.append(model.reward(memory).cpu().numpy())
    return Outcomes(np.stack(rewards, axis=1), np.stack(hazards, axis=1))


def imagine_true(rollout: Any, clips: Clips, seed: int, **options: Any) -> Dream:
    """What is imagined under the true actions."""
    return imagine(rollout, clips, noise_seeds(len(clips), seed), **options)


def imagine_shuffled(rollout: Any, clips: Clips, seed: int, **options: Any) -> np.ndarray:
    """Frames imagined under the actions of other clips, by the noise of :func:`imagine_true`."""
    actions, noise = borrowed_actions(clips, seed), noise_seeds(len(clips), seed)
    return imagine(rollout, clips, noise, actions=actions, **options).frames


def sample_futures(
    rollout: Any, clips: Clips, samples: int, seed: int, **options: Any
) -> np.ndarray:
    """``samples`` futures of every clip under its own actions, uint8 (N, S, H, h, w, 3)."""
    repeated = clips.take(np.repeat(np.arange(len(clips)), samples))
    dream = imagine(rollout, repeated, noise_seeds(len(repeated), seed), **options)
    return dream.frames.reshape(len(clips), samples, *dream.frames.shape[1:])


def noise_seeds(count: int, seed: int) -> np.ndarray:
    """int64 (count,), different from each other."""
    return np.random.default_rng(seed).choice(2**62, count, replace=False, shuffle=False)


def borrowed_actions(clips: Clips, seed: int) -> np.ndarray:
    """Actions of other clips, of another episode where there is one: float32 (N, H, K).

    What a model makes of these, against the frames that followed the true actions, tells whether
    it listens to actions at all.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(clips.episodes + rng.random(len(clips)), kind="stable")
    # Clips of one episode are neighbours now: half-way round everyone gets a stranger's actions.
    lender = np.empty(len(clips), np.int64)
    lender[order] = np.roll(order, len(clips) // 2)
    return clips.actions[lender]


def same_actions(clips: Clips, seed: int) -> np.ndarray:
    """How many clips were lent nothing but their own actions so far: int64 (H,), by horizon.

    Where actions are few that happens by chance. What is imagined of these clips is the same.
    """
    same = (borrowed_actions(clips, seed) == clips.actions).all(-1)
    return (np.logical_and.accumulate(same, axis=1) & clips.known).sum(0)


def make_rollout(
    world: Any, device: str, sampling_steps: int | None = None, **settings: Any
) -> Any:
    """What imagines ``world`` without ever ending an episode."""
    settings |= {"sampling_steps": sampling_steps, "termination_mode": "never"}
    return load_rollout(world, device, **settings)[1]
