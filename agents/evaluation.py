"""Plays whole episodes and counts every one of them once, in real and in imagined environments.

Which episodes count is fixed before the first step: a list of seeds, or the first ``k`` episodes
of every stream. Taking whichever episodes end first would favour the short ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from agents.policies import Policy
from agents.statistics import Interval, mean_interval

OnEpisode = Callable[[float, int], None]
"""Called with the return and the length of every finished episode that counts."""


class EndlessEpisodesError(RuntimeError):
    """Episodes did not end within the steps that they were given."""


@dataclass(frozen=True)
class Evaluation:
    """Episodes of one policy in one environment."""

    policy: str
    """Name of the policy."""
    environment: str
    """Where it played, such as ``doom-take-cover (real)`` or a world's id with its hash."""
    returns: np.ndarray
    """float64 (E,), sum of the rewards of each episode, undiscounted."""
    lengths: np.ndarray
    """int64 (E,), steps of each episode."""
    terminated: np.ndarray
    """bool (E,), False where a time limit cut the episode off."""
    seconds: float
    """Wall-clock time of all episodes together."""

    @property
    def interval(self) -> Interval:
        """Mean return with its 95 % bootstrap interval; of one episode there is none."""
        return mean_interval(self.returns)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; every episode included, so that others can resample."""
        return {
            "policy": self.policy,
            "environment": self.environment,
            "episodes": len(self.returns),
            "mean_return": self.interval.to_json(),
            "std_return": float(np.std(self.returns)),
            "mean_length": float(np.mean(self.lengths)),
            "truncated": int(np.sum(~self.terminated)),
            "seconds": round(self.seconds, 2),
            "returns": [round(float(r), 4) for r in self.returns],
            "lengths": [int(n) for n in self.lengths],
        }


def evaluate(
    policy: Policy,
    make_env: Callable[[], gym.Env[np.ndarray, Any]],
    seeds: Sequence[int],
    *,
    streams: int = 1,
    environment: str = "",
    on_episode: OnEpisode | None = None,
) -> Evaluation:
    """Plays one episode for each seed in environments that are made for the purpose.

    Args:
        policy: what plays.
        make_env: makes an environment; called once for every stream.
        seeds: one for each episode; it seeds the environment's reset and the policy, so an
            episode is the same whichever stream plays it.
        streams: environments that step side by side: in threads those that say so
            (``steps_in_threads``), as games in processes of their own; others in turn, in one.
        environment: its name in the result.
        on_episode: called after each episode, for progress.

    Returns:
        The episodes in the order of ``seeds``.
    """
    if not len(seeds):
        raise ValueError("no seeds: an evaluation plays one episode for each.")
    streams = min(streams, len(seeds))
    queues = [list(range(i, len(seeds), streams)) for i in range(streams)]
    record = _Record(len(seeds), on_episode)
    started = time.perf_counter()
    envs: list[gym.Env[np.ndarray, Any]] = []
    try:
        envs.extend(make_env() for _ in range(streams))
        apart = all(getattr(env.unwrapped, "steps_in_threads", False) for env in envs)
        with ThreadPoolExecutor(streams if apart else 1) as threads:
            current = [queue.pop(0) for queue in queues]
            state = policy.begin([int(seeds[k]) for k in current])
            first = threads.map(lambda env, k: env.reset(seed=int(seeds[k])), envs, current)
            observations = np.stack([observation for observation, _ in first])
            active = np.ones(streams, bool)
            while active.any():
                actions = policy.act(observations, state)
                playing = np.flatnonzero(active)
                results = threads.map(lambda i: envs[i].step(actions[i]), playing)  # noqa: B023
                for i, (observation, reward, terminated, truncated, _) in zip(
                    playing, list(results), strict=True
                ):
                    record.add(current[i], float(reward))
                    if terminated or truncated:
                        record.end(current[i], bool(terminated))
                        if queues[i]:
                            current[i] = queues[i].pop(0)
                            observation, _ = envs[i].reset(seed=int(seeds[current[i]]))
                            policy.restart(state, int(i), int(seeds[current[i]]))
                        else:
                            active[i] = False
                    observations[i] = observation
    finally:
        for env in envs:
            env.close()
    return record.result(policy.name, environment, time.perf_counter() - started)


def evaluate_vector(
    policy: Policy,
    envs: VectorEnv[Any, Any, Any],
    episodes: int,
    *,
    seed: int = 0,
    environment: str = "",
    step_limit: int = 1_000_000,
    on_episode: OnEpisode | None = None,
) -> Evaluation:
    """Plays ``episodes`` episodes in a vector environment, which stays open.

    Args:
        policy: what plays.
        envs: a Gymnasium vector environment that resets by itself (next-step or same-step).
        episodes: divided evenly over the streams; the first ones of each stream count.
        seed: of the environment and the policy.
        environment: its name in the result.
        step_limit: gives up after so many steps of the whole batch.
        on_episode: called after each episode, for progress.

    Returns:
        The episodes, stream by stream.

    Raises:
        EndlessEpisodesError: if the episodes do not end within ``step_limit`` steps.
    """
    mode = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        raise ValueError(
            f"autoreset mode {mode} cannot be evaluated; make the environment with "
            "autoreset_mode 'next_step' or 'same_step'."
        )
    if episodes < 1:
        raise ValueError(f"episodes={episodes}: an evaluation needs at least one.")
    streams = envs.num_envs
    quota = np.full(streams, episodes // streams)
    quota[: episodes % streams] += 1
    offset = np.concatenate([[0], np.cumsum(quota)[:-1]])
    done_count = np.zeros(streams, np.int64)
    record = _Record(episodes, on_episode)
    started = time.perf_counter()
    observations, _ = envs.reset(seed=seed)
    state = policy.begin([_stream_seed(seed, i, 0) for i in range(streams)])
    resetting = np.zeros(streams, bool)
    for _ in range(step_limit):
        actions = policy.act(observations, state)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        for i in range(streams):
            counted = done_count[i] < quota[i] and not resetting[i]
            ended = bool(terminated[i] or truncated[i]) and not resetting[i]
            if counted:
                record.add(offset[i] + done_count[i], float(rewards[i]))
            if counted and ended:
                record.end(offset[i] + done_count[i], bool(terminated[i]))
            done_count[i] += ended
            # The observation that is now in hand is the first of an episode: under SAME_STEP
            # right after the end, under NEXT_STEP one (empty) step later.
            if resetting[i] or (ended and mode == AutoresetMode.SAME_STEP):
                policy.restart(state, i, _stream_seed(seed, i, int(done_count[i])))
            resetting[i] = ended and mode == AutoresetMode.NEXT_STEP
        if (done_count >= quota).all():
            return record.result(policy.name, environment, time.perf_counter() - started)
    raise EndlessEpisodesError(
        f"only {int(np.minimum(done_count, quota).sum())} of {episodes} episodes ended within "
        f"{step_limit} steps. Give the environment a horizon (max_episode_steps)."
    )


class _Record:
    """Returns and lengths of a fixed list of episodes."""

    def __init__(self, episodes: int, on_episode: OnEpisode | None) -> None:
        self.returns = np.zeros(episodes)
        self.lengths = np.zeros(episodes, np.int64)
        self.terminated = np.zeros(episodes, bool)
        self.on_episode = on_episode

    def add(self, episode: int, reward: float) -> None:
        self.returns[episode] += reward
        self.lengths[episode] += 1

    def end(self, episode: int, terminated: bool) -> None:
        self.terminated[episode] = terminated
        if self.on_episode is not None:
            self.on_episode(float(self.returns[episode]), int(self.lengths[episode]))

    def result(self, policy: str, environment: str, seconds: float) -> Evaluation:
        return Evaluation(policy, environment, self.returns, self.lengths, self.terminated, seconds)


def _stream_seed(seed: int, stream: int, episode: int) -> int:
    return int(np.random.SeedSequence([seed, stream, episode]).generate_state(1)[0])
