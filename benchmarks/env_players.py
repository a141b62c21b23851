"""Steps anybody's imagined environments, single or batched, as streams side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array

from agents.evaluation import EndlessEpisodesError, Evaluation, evaluate, evaluate_vector
from agents.policies import Policy
from benchmarks.episode_ends import A_BATCH, LONGEST, EndingEnv, Ends, check_numbers
from world_model.action_spec import ActionSpec
from world_model.errors import NFDError
from world_model.types import Context


class ImaginedEnv(Protocol):
    """An imagined environment, as Gymnasium has them; frames are uint8 (H, W, 3).

    It may be a batch of them, a ``gymnasium.vector.VectorEnv``. Then every array below has one
    more axis in front, of ``num_envs``, and lists hold so many.
    """

    observation_space: Any
    """Box of one frame; of a batch ``single_observation_space``."""
    action_space: Any
    """Of one action; of a batch ``single_action_space``."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode.

        With ``options={"frames": uint8 (C, H, W, 3), "actions": C - 1 actions}`` it goes on from
        real frames, the newest last, which it returns as it is; ``actions[t]`` led from frame t to
        frame t + 1. All chance in what follows should come from ``seed``.
        """
        ...

    def step(self, action: Any) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """(frame, reward, terminated, truncated, info) that follow.

        ``info`` may hold ``termination_probability``, in [0, 1]: else ends are judged by whether
        there was one. Best is an environment that reports it and never ends.
        """
        ...


@dataclass(frozen=True)
class Stepped:
    """What a step brought ``B`` streams, as arrays."""

    frames: np.ndarray
    """uint8 (B, H, W, 3), of the episode that was played: not of one that began after it."""
    rewards: np.ndarray
    """float (B,)."""
    terminated: np.ndarray
    """bool (B,)."""
    truncated: np.ndarray
    """bool (B,)."""
    probability: np.ndarray
    """float (B,), that the step ends the episode."""


class Player(Protocol):
    """Plays ``B`` streams, at most ``streams``, side by side."""

    streams: int

    def begin(self, contexts: Context, seeds: Sequence[int]) -> None:
        """Starts every stream anew."""
        ...

    def step(self, actions: np.ndarray, over: np.ndarray) -> Stepped:
        """Steps them by actions float32 (B, K); what it says of those that are ``over`` is moot."""
        ...

    def play(
        self, policy: Policy, seeds: Sequence[int], environment: str, ends: Ends
    ) -> Evaluation:
        """Episodes of a policy, from the environment's own starts.

        Raises:
            NFDError: if one does not end.
        """
        ...

    def close(self) -> None:
        """Closes what needs it."""
        ...


class SingleEnvs:
    """Plays as many single environments as there are streams.

    Args:
        make_env: makes one, see :class:`ImaginedEnv`.
        action_spec: encodes its actions.
        streams: at most.
        first: one that is made already.
    """

    def __init__(
        self, make_env: Callable[[], Any], action_spec: ActionSpec, streams: int, first: Any = None
    ) -> None:
        self.make_env, self.spec, self.streams = make_env, action_spec, streams
        self._envs: list[Any] = [] if first is None else [first]

    def begin(self, contexts: Context, seeds: Sequence[int]) -> None:
        """See :class:`Player`."""
        while len(self._envs) < len(seeds):
            self._envs.append(self.make_env())
        for i, (env, seed) in enumerate(zip(self._envs, seeds, strict=False)):
            options = start_options(contexts, i, self.spec)
            frame, _ = env.reset(seed=seed, options=options)
            check_start(frame, options["frames"][-1])

    def step(self, actions: np.ndarray, over: np.ndarray) -> Stepped:
        """See :class:`Player`."""
        steps: list[Any] = [None] * len(actions)
        for i in np.flatnonzero(~over).tolist():
            steps[i] = self._envs[i].step(self.spec.decode(actions[i]))
        blank = next(step for step in steps if step is not None)
        columns = list(zip(*(blank if step is None else step for step in steps), strict=True))
        frames, rewards, terminated, truncated, infos = columns
        ended = np.array(terminated, bool)
        return Stepped(
            np.stack(frames),
            np.array(rewards, np.float64),
            ended,
            np.array(truncated, bool),
            np.array([info.get("termination_probability", e)
                      for info, e in zip(infos, ended, strict=True)], np.float64),
        )  # fmt: skip

    def play(
        self, policy: Policy, seeds: Sequence[int], environment: str, ends: Ends
    ) -> Evaluation:
        """See :class:`Player`."""
        return evaluate(
            policy,
            lambda: EndingEnv(self.make_env(), ends, environment),  # type: ignore[arg-type, return-value]
            seeds,
            streams=self.streams,
            environment=environment,
        )

    def close(self) -> None:
        """See :class:`Player`."""
        for env in self._envs:
            env.close()
        self._envs.clear()


class BatchedEnv:
    """Plays the streams of one vector environment; those that nobody needs do as the last one.

    Args:
        env: see :class:`ImaginedEnv`.
        action_spec: encodes its actions.
    """

    def __init__(self, env: Any, action_spec: ActionSpec) -> None:
        self.env, self.spec, self.streams = env, action_spec, int(env.num_envs)

    def begin(self, contexts: Context, seeds: Sequence[int]) -> None:
        """See :class:`Player`."""
        rows = self._padded(range(len(seeds)))
        single = [start_options(contexts, i, self.spec) for i in rows]
        given = np.stack([one["frames"] for one in single])
        options = {"frames": given, "actions": [one["actions"] for one in single]}
        frames, _ = self.env.reset(seed=[seeds[i] for i in rows], options=options)
        check_start(frames, given[:, -1])

    def step(self, actions: np.ndarray, over: np.ndarray) -> Stepped:
        """See :class:`Player`."""
        n = len(actions)
        chosen = [self.spec.decode(actions[i]) for i in self._padded(range(n))]
        batch = batched(self.env.single_action_space, chosen)
        frames, rewards, terminated, truncated, infos = self.env.step(batch)
        frames, ended = np.array(frames[:n]), np.array(terminated[:n], bool)
        cut = np.array(truncated[:n], bool)
        for i in np.flatnonzero(ended | cut).tolist():  # it may have begun the next one already
            last = infos["final_obs"][i] if "final_obs" in infos else None
            frames[i] = frames[i] if last is None else last
        probability = np.asarray(infos.get("termination_probability", terminated), np.float64)
        return Stepped(frames, np.array(rewards[:n], np.float64), ended, cut, probability[:n])

    def play(
        self, policy: Policy, seeds: Sequence[int], environment: str, ends: Ends
    ) -> Evaluation:
        """See :class:`Player`; the seeds of the streams follow from the first one."""
        rounds = -(-len(seeds) // self.streams)
        try:
            played = evaluate_vector(
                policy,
                self.env,
                len(seeds),
                seed=int(seeds[0]),
                environment=environment,
                step_limit=rounds * LONGEST,
            )
        except EndlessEpisodesError as error:
            raise NFDError(
                f"an imagined episode did not end within {LONGEST:,} steps. {A_BATCH}"
            ) from error
        check_numbers(played.returns, played.terminated, environment)
        return played

    def close(self) -> None:
        """See :class:`Player`."""
        self.env.close()

    def _padded(self, rows: range) -> list[int]:
        return [min(i, rows[-1]) for i in range(self.streams)]


class FirstOfBatch:
    """The first stream of a vector environment as a single one; the others do as it does.

    Args:
        env: see :class:`ImaginedEnv`.
        owned: whether it is closed with this; else it belongs to its world.
    """

    def __init__(self, env: Any, owned: bool = False) -> None:
        self.env, self.streams, self.owned = env, int(env.num_envs), owned
        self.action_space = env.single_action_space

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts all streams."""
        frames, _ = self.env.reset(seed=[seed + i for i in range(self.streams)])
        return np.array(frames[0]), {}

    def step(self, action: Any) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """Steps all streams, and tells of the first."""
        actions = batched(self.action_space, [action] * self.streams)
        frames, rewards, terminated, truncated, infos = self.env.step(actions)
        told = {k: infos[k][0] for k in ("uncertainty", "termination_probability") if k in infos}
        return np.array(frames[0]), rewards[0], terminated[0], truncated[0], told

    def close(self) -> None:
        """Closes the batch where nobody else has it."""
        if self.owned:
            self.env.close()


def batched(space: Any, actions: Sequence[Any]) -> Any:
    """Actions of a space as a vector environment takes them."""
    return concatenate(space, actions, create_empty_array(space, len(actions)))  # type: ignore[arg-type]


def check_start(shown: Any, newest: np.ndarray) -> None:
    """Refuses an environment that did not begin where it was told to.

    Raises:
        NFDError: if what ``reset`` returned is not the newest frame, or frames, that it was given.
    """
    if not np.array_equal(shown, newest):
        raise NFDError(
            "reset(options={'frames': ...}) does not return the newest of the frames, as it was "
            "given: the environment must go on from there. See docs/evaluate-yours.md."
        )


def start_options(contexts: Context, i: int, spec: ActionSpec) -> dict[str, Any]:
    """The reset options that start an episode with context ``i``."""
    actions = contexts.actions[i, 1:].cpu().numpy()
    return {
        "frames": contexts.frames[i].cpu().numpy(),
        "actions": [spec.decode(action) for action in actions],
    }
