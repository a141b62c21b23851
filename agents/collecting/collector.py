"""Records episodes of an environment with several processes, seeded and resumable.

Episode i is a function of (seed, i) alone: its environment seed, its player and its player's
dice. Processes take whole shards of consecutive episodes and write them to a staging folder; the
parent places them in order. So the data set does not depend on the number of processes, nor on
how often the recording was interrupted.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents.collecting.behaviour import BehaviourPolicy
from world_model import errors
from world_model.action_spec import ActionSpec
from world_model.data.metadata import DatasetInfo
from world_model.data.shards import write_shard
from world_model.data.writer import DatasetWriter
from world_model.errors import DataError, NFDError
from world_model.types import Episode

EnvFactory = Callable[[], gym.Env[np.ndarray, Any]]
PolicyFactory = Callable[[np.random.Generator], BehaviourPolicy]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """What a process needs to record any shard; picklable."""

    env_factory: EnvFactory
    """Makes the environment. ``info`` may carry ``state``, ``labels`` and ``frame_missing``."""
    policy_factory: PolicyFactory
    """Draws the player of an episode from the episode's random generator."""
    info: DatasetInfo
    """Description of the data set."""
    seed: int
    """Seed of the whole recording."""
    shard_episodes: int
    """Episodes per shard."""
    staging: Path
    """Folder for finished shards."""


def record_episode(
    env: gym.Env[np.ndarray, Any],
    policy_factory: PolicyFactory,
    action_spec: ActionSpec,
    seed: int,
    index: int,
) -> Episode:
    """Plays and records episode ``index``."""
    sequence = np.random.SeedSequence([seed, index])
    env_seed = int(sequence.generate_state(1)[0])
    policy = policy_factory(np.random.default_rng(sequence.spawn(1)[0]))
    frame, info = env.reset(seed=env_seed)
    frames, infos, actions, rewards = [frame], [info], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy.act(frame, info)
        frame, reward, terminated, truncated, info = env.step(action)
        actions.append(action_spec.encode(action))
        rewards.append(reward)
        if not info.get("frame_missing", False):
            frames.append(frame)
            infos.append(info)
    ends = np.zeros(len(actions), bool)
    ends[-1] = True
    return Episode(
        frames=np.stack(frames),
        actions=np.stack(actions),
        rewards=np.asarray(rewards, np.float32),
        # A time-out says nothing about the task: where both are set, truncation wins.
        terminated=ends & (terminated and not truncated),
        truncated=ends & truncated,
        state=np.stack([np.asarray(i.get("state", ()), np.float32) for i in infos]),
        labels=np.stack([i["labels"] for i in infos]) if "labels" in infos[0] else None,
        info={"policy": policy.name, "seed": str(env_seed)},
    )


def collect(
    writer: DatasetWriter,
    env_factory: EnvFactory,
    policy_factory: PolicyFactory,
    *,
    steps: int,
    seed: int,
    processes: int = 1,
    report: Report | None = None,
) -> None:
    """Records until the data set has at least ``steps`` frames, in whole shards.

    Args:
        writer: the data set, empty or with a part of the same recording.
        env_factory: makes the environment; picklable if ``processes`` > 1.
        policy_factory: draws a player; picklable if ``processes`` > 1.
        steps: number of frames to reach.
        seed: seed of the recording.
        processes: number of processes; 1 records in this one.
        report: called with (frames in place, frames played since the start) now and then.

    Raises:
        StorageError: if the disk is full; what was recorded so far stays.
        NFDError: if a process failed.
    """
    if steps < 1 or processes < 1:
        raise DataError(f"steps={steps} and processes={processes} must be at least 1.")
    job = Job(env_factory, policy_factory, writer.info, seed, writer.shard_episodes, writer.staging)
    report = report or (lambda placed, played: None)
    if writer.frames < steps:
        if processes == 1:
            _collect_here(writer, job, steps, report)
        else:
            _collect_parallel(writer, job, steps, processes, report)
    report(writer.frames, 0)
    writer.finish(split_seed=seed)


def _record_shard(
    env: gym.Env[np.ndarray, Any], job: Job, shard: int, played: Callable[[int], None]
) -> None:
    first = shard * job.shard_episodes
    episodes = []
    for index in range(first, first + job.shard_episodes):
        spec = job.info.action_spec
        episodes.append(record_episode(env, job.policy_factory, spec, job.seed, index))
        played(len(episodes[-1].frames))
    write_shard(
        job.staging / f"shard-{shard:06d}.parquet",
        episodes,
        job.info,
        first_episode=first,
        first_index=0,
    )


def _collect_here(writer: DatasetWriter, job: Job, steps: int, report: Report) -> None:
    env = job.env_factory()
    try:
        while writer.frames < steps:
            _record_shard(env, job, len(writer.shards), partial(report, writer.frames))
            writer.place(len(writer.shards))
    finally:
        env.close()


def _collect_parallel(
    writer: DatasetWriter, job: Job, steps: int, processes: int, report: Report
) -> None:
    # Not fork: a forked child dead-locks if the parent has used torch's thread pool.
    context = multiprocessing.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    workers = [
        context.Process(target=_work, args=(job, tasks, results, os.getpid()), daemon=True)
        for _ in range(processes)
    ]
    # After a damaged shard was deleted, those behind it are still in place.
    missing = (n for n in count(len(writer.shards)) if not writer.has_shard(n))
    finished: set[int] = set()
    try:
        for worker in workers:
            worker.start()
        for _ in range(processes):
            tasks.put(next(missing))
        while writer.frames < steps:
            try:
                kind, *content = results.get(timeout=1.0)
            except queue.Empty:
                if any(worker.exitcode is not None for worker in workers):
                    raise NFDError(
                        "a recording process ended unexpectedly. What was recorded so far is kept; "
                        "run the same command again to go on."
                    ) from None
                continue
            if kind == "played":
                report(writer.frames, content[0])
            elif kind == "error":
                name, text = content
                raise getattr(errors, name, NFDError)(text)
            else:
                finished.add(content[0])
                # Keep few shards ahead of the next one to place, so that little is thrown away.
                tasks.put(next(missing))
                while len(writer.shards) in finished and writer.frames < steps:
                    writer.place(len(writer.shards))
                    report(writer.frames, 0)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            if worker.pid is not None:
                worker.join(timeout=10)


def _work(job: Job, tasks: Any, results: Any, parent: int) -> None:
    """Main loop of a recording process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Leave by an exception, so that the game's own process is closed too.
    signal.signal(signal.SIGTERM, _leave)
    env = None
    try:
        env = job.env_factory()

        def played(frames: int) -> None:
            results.put(("played", frames))
            if os.getppid() != parent:  # the parent was killed: nobody waits for the rest
                raise SystemExit(1)

        while True:
            try:
                shard = tasks.get(timeout=1.0)
            except queue.Empty:
                if os.getppid() != parent:
                    return
                continue
            _record_shard(env, job, shard, played)
            results.put(("shard", shard))
    except Exception as error:
        name = type(error).__name__
        text = str(error) if isinstance(error, NFDError) else f"{name}: {error}"
        results.put(("error", name, text))
        time.sleep(0.5)  # let the queue's thread send it before the process ends
    finally:
        if env is not None:
            env.close()


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def policy_shares(summaries: Mapping[str, int]) -> str:
    """Frames per player kind as a short text, most first."""
    total = sum(summaries.values())
    parts = sorted(summaries.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {100 * frames / total:.0f} %" for name, frames in parts)
