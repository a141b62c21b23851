"""Plays many policies in one imagined batch: every stream plays whichever episode is next.

A batch that serves one policy after another idles while its last long episodes end. Here all
episodes of all policies stand in one queue, and streams that find it empty leave the batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.evaluation import Evaluation
from agents.policies import Policy
from nfd_env.building import build_core
from world_model.errors import NFDError


@dataclass(frozen=True)
class _Job:
    """One episode to play."""

    policy: int
    """Which policy."""
    episode: int
    """Which of its episodes."""
    seed: int
    """Of the episode and of the policy."""


def play_all(
    policies: Sequence[Policy],
    world: Any,
    seeds: Sequence[int],
    *,
    streams: int = 48,
    idle: float | None = None,
    on_episode: Callable[[], None] = lambda: None,
    **settings: Any,
) -> list[Evaluation]:
    """Every policy plays one imagined episode for each seed.

    Policies meet the same seeds, hence the same starts and the same noise. An episode depends on
    its seed and policy only, not on the stream that plays it.

    Args:
        policies: who plays.
        world: the world, or its name.
        seeds: one for each episode of each policy.
        streams: episodes side by side.
        idle: share of the streams that may have nothing left to play before the batch is made
            smaller (default: none; on a GPU, where another batch size costs more, half).
        on_episode: called after each episode.
        settings: of the environment, such as ``sampling_steps`` and ``contexts``.

    Returns:
        One evaluation per policy, episodes in the order of ``seeds``.

    Raises:
        NFDError: if the world has no horizon, so that an episode may never end.
    """
    started = time.perf_counter()
    jobs = [_Job(p, e, seed) for e, seed in enumerate(seeds) for p in range(len(policies))]
    streams = min(streams, len(jobs))
    core = build_core(streams, world, **settings)
    if core.limits.max_episode_steps is None:
        raise NFDError(
            f"{core.world.model_id} has no horizon, so episodes may never end. Give one with "
            "max_episode_steps."
        )
    returns = np.zeros((len(policies), len(seeds)))
    lengths = np.zeros((len(policies), len(seeds)), np.int64)
    terminated = np.zeros((len(policies), len(seeds)), bool)
    spec = core.world.action_spec
    queue = deque(jobs)
    playing = [queue.popleft() for _ in range(streams)]
    states = [policies[job.policy].begin([job.seed]) for job in playing]
    core.reset(seeds=[job.seed for job in playing])
    active = np.ones(streams, np.bool_)
    if idle is None:
        idle = 0.5 if core.device.type == "cuda" else 0.0
    while True:
        frames = core.observations
        actions = [
            policies[job.policy].act(frames[i : i + 1], states[i])[0]
            for i, job in enumerate(playing)
        ]
        encoded = spec.encode_batch(np.stack(actions), len(playing))
        step = core.step(encoded, skip=~active)
        ended = (step.terminated | step.truncated) & active
        for i in np.flatnonzero(active).tolist():
            job = playing[i]
            returns[job.policy, job.episode] += step.rewards[i]
            lengths[job.policy, job.episode] += 1
            terminated[job.policy, job.episode] = step.terminated[i]
        if not ended.any():
            continue
        fresh: list[int | None] = [None] * len(playing)
        for i in np.flatnonzero(ended).tolist():
            on_episode()
            if queue:
                playing[i] = queue.popleft()
                states[i] = policies[playing[i].policy].begin([playing[i].seed])
                fresh[i] = playing[i].seed
            else:
                active[i] = False
        if any(seed is not None for seed in fresh):
            core.reset(np.array([seed is not None for seed in fresh]), fresh)
        staying = np.flatnonzero(active).tolist()
        if not staying:
            break
        if len(playing) - len(staying) > idle * len(playing):
            core = core.branch(staying)
            playing = [playing[i] for i in staying]
            states = [states[i] for i in staying]
            active = active[staying]
    seconds = time.perf_counter() - started
    where = f"{core.world.model_id} (imagined)"
    return [
        Evaluation(
            policy.name,
            where,
            returns[p],
            lengths[p],
            terminated[p],
            seconds * float(lengths[p].sum() / lengths.sum()),
        )
        for p, policy in enumerate(policies)
    ]
