"""Records episodes of an environment with several processes, seeded and resumable.

Episode i is a function of (seed, i) alone: its environment seed, its player and its player's
dice. Processes take whole shards of consecutive episodes and write them to a staging folder; the
parent places them in order. So the data set does not depend on the number of processes, nor on
how often the recording was interrupted. An episode in which the environment fails is left out, and
the next one is played in a new environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents.collecting.behaviour import BehaviourPolicy
from world_model.action_spec import ActionSpec
from world_model.data.metadata import DatasetInfo
from world_model.data.shards import write_shard
from world_model.data.workers import Worker, run_tasks
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


class EpisodeFailedError(Exception):
    """The environment raised in the middle of an episode."""


def record_episode(
    env: gym.Env[np.ndarray, Any],
    policy_factory: PolicyFactory,
    action_spec: ActionSpec,
    seed: int,
    index: int,
) -> Episode:
    """Plays and records episode ``index``.

    Raises:
        EpisodeFailedError: if the environment raised, or gave a reward that is no number.
        ActionError: if the player chose an action that the environment does not have.
    """
    sequence = np.random.SeedSequence([seed, index])
    env_seed = int(sequence.generate_state(1)[0])
    policy = policy_factory(np.random.default_rng(sequence.spawn(1)[0]))
    frame, info = _ask(env.reset, seed=env_seed)
    frames, infos, actions, rewards = [frame], [info], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy.act(frame, info)
        actions.append(action_spec.encode(action))
        frame, reward, terminated, truncated, info = _ask(env.step, action)
        if not np.isfinite(reward):
            raise EpisodeFailedError(f"the reward of step {len(actions)} is {reward}")
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


def _ask(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a method of the environment; whatever it raises ends the episode."""
    try:
        return method(*args, **kwargs)
    except NFDError:
        raise  # the environment does not fit what it is asked for: the next episode will not either
    except Exception as error:
        raise EpisodeFailedError(f"{type(error).__name__}: {error}") from error


def collect(
    writer: DatasetWriter,
    env_factory: EnvFactory,
    policy_factory: PolicyFactory,
    *,
    steps: int,
    seed: int,
    processes: int = 1,
    report: Report | None = None,
) -> list[str]:
    """Records until the data set has at least ``steps`` frames, in whole shards.

    Args:
        writer: the data set, empty or with a part of the same recording.
        env_factory: makes the environment; picklable if ``processes`` > 1.
        policy_factory: draws a player; picklable if ``processes`` > 1.
        steps: number of frames to reach.
        seed: seed of the recording.
        processes: number of processes; 1 records in this one.
        report: called with (frames in place, frames played since the start) now and then.

    Returns:
        What the environment raised in each episode that was left out, of those played now.

    Raises:
        StorageError: if the disk is full; what was recorded so far stays.
        NFDError: if a process failed, or every episode of a shard did.
    """
    failures: list[str] = []
    if steps < 1 or processes < 1:
        raise DataError(f"steps={steps} and processes={processes} must be at least 1.")
    job = Job(env_factory, policy_factory, writer.info, seed, writer.shard_episodes, writer.staging)
    report = report or (lambda placed, played: None)
    if writer.frames < steps:
        # After a damaged shard was deleted, those behind it are still in place.
        missing = (n for n in count(len(writer.shards)) if not writer.has_shard(n))
        finished: set[int] = set()
        done = run_tasks(
            partial(_open_recorder, job),
            missing,
            processes=processes,
            progress=lambda played: report(writer.frames, played),
            doing="recording",
        )
        with closing(done):
            for shard, failed in done:
                failures += failed
                finished.add(shard)
                while len(writer.shards) in finished and writer.frames < steps:
                    writer.place(len(writer.shards))
                    report(writer.frames, 0)
                if writer.frames >= steps:
                    break
    report(writer.frames, 0)
    writer.finish(split_seed=seed)
    return failures


@contextmanager
def _open_recorder(job: Job) -> Iterator[Worker]:
    """Records shards by their number, all in one environment while that works."""
    recorder = _Recorder(job)
    try:
        yield recorder.record
    finally:
        recorder.env.close()


class _Recorder:
    """An environment, and a new one after each failure."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.env = job.env_factory()

    def record(self, shard: int, played: Callable[[int], None]) -> list[str]:
        """Records the episodes of a shard; returns what those that failed failed with."""
        job, failures = self.job, []
        first = shard * job.shard_episodes

        def episodes() -> Iterator[Episode]:  # written as they are played: one in memory at a time
            for index in range(first, first + job.shard_episodes):
                spec = job.info.action_spec
                try:
                    episode = record_episode(self.env, job.policy_factory, spec, job.seed, index)
                except EpisodeFailedError as error:
                    failures.append(str(error))
                    with suppress(Exception):  # it is broken already
                        self.env.close()
                    self.env = job.env_factory()
                    continue
                played(len(episode.frames))
                yield episode

        whole = episodes()
        begun = next(whole, None)
        if begun is None:
            raise NFDError(
                f"the environment failed in all {job.shard_episodes} episodes from number {first} "
                f"on, last with {failures[-1]}. What was recorded before is kept."
            )
        write_shard(
            job.staging / f"shard-{shard:06d}.parquet",
            chain([begun], whole),
            job.info,
            first_episode=first,
            first_index=0,
        )
        return failures


def policy_shares(summaries: Mapping[str, int]) -> str:
    """Frames per player kind as a short text, most first."""
    total = sum(summaries.values())
    parts = sorted(summaries.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {100 * frames / total:.0f} %" for name, frames in parts)
