"""The batched core behind every face of the environment: B imagined episodes, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded

from nfd_env.reset_options import check_snapshot, parse_options
from nfd_env.seeding import episode_seed
from nfd_env.snapshot import Snapshot
from nfd_env.starts import StartProvider, check_context, groups
from nfd_env.trust import TrustLimits
from world_model.errors import ContextError
from world_model.types import Context, StepOutcome

RewardFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(frames uint8 (B, H, W, 3), encoded actions float32 (B, K), next frames) -> rewards (B,)."""

UNSEEDED = -1


@dataclass(frozen=True)
class CoreStep:
    """One step of all ``B`` streams, as fresh NumPy arrays."""

    observations: np.ndarray
    """uint8 (B, H, W, 3)."""
    rewards: np.ndarray
    """float64 (B,), of the transition into ``observations``."""
    terminated: np.ndarray
    """bool (B,), by the world."""
    truncated: np.ndarray
    """bool (B,), by a limit."""
    truncation_reasons: np.ndarray
    """object (B,): ``"horizon"``, ``"uncertainty"`` or None."""
    termination_probability: np.ndarray
    """float64 (B,)."""
    uncertainty: np.ndarray
    """float64 (B,)."""
    steps: np.ndarray
    """int64 (B,), steps since the episode's start."""

    def info(self, i: int) -> dict[str, Any]:
        """The ``info`` of stream ``i``."""
        info: dict[str, Any] = {
            "imagined_steps": int(self.steps[i]),
            "uncertainty": float(self.uncertainty[i]),
            "termination_probability": float(self.termination_probability[i]),
        }
        if self.truncation_reasons[i] is not None:
            info["truncation_reason"] = self.truncation_reasons[i]
        return info


class ImaginedCore:
    """``num_envs`` independent episodes, imagined by one rollout in one batch.

    Resets are left to the caller, which knows its autoreset mode. Nothing here draws from a
    global generator: with the first seed of a stream all its episodes are fixed.

    Args:
        world: the world, for its spaces, defaults and id.
        rollout: what imagines it (``RolloutProtocol``).
        num_envs: number of streams B.
        starts: where episodes start.
        limits: where they are cut off.
        endless: never terminate, and ignore ``limits.max_episode_steps``.
        reward_function: replaces the world's reward.
    """

    def __init__(
        self,
        world: Any,
        rollout: Any,
        num_envs: int,
        starts: StartProvider,
        limits: TrustLimits | None = None,
        *,
        endless: bool = False,
        reward_function: RewardFunction | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs}: expected at least 1.")
        self.world = world
        self.rollout = rollout
        self.num_envs = num_envs
        self.starts = starts
        self.endless = endless
        self.limits = limits if limits is not None else TrustLimits()
        self.set_max_episode_steps(self.limits.max_episode_steps)
        self.reward_function = reward_function
        self.device = torch.device(getattr(rollout, "device", "cpu"))
        self.state: Any = None
        self.observations = np.zeros((num_envs, *world.config.frame_shape), np.uint8)
        self.steps = np.zeros(num_envs, np.int64)
        self.first_seeds = np.full(num_envs, UNSEEDED, np.int64)
        self.episodes = np.zeros(num_envs, np.int64)
        self.finished = np.ones(num_envs, np.bool_)

    # -- episodes ------------------------------------------------------------------------------

    def reset(
        self,
        mask: np.ndarray | None = None,
        seeds: Sequence[int | None] | None = None,
        options: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[int, dict[str, Any]]:
        """Starts new episodes; ``observations`` then hold their first frames.

        Args:
            mask: bool (B,), the streams to reset; default: all.
            seeds: B seeds; a stream whose seed is None goes on with the seed that follows from
                its first one, or from fresh entropy if it never had one.
            options: B dicts, see :func:`nfd_env.reset_options.parse_options`.

        Returns:
            The ``info`` of each stream that was reset, by its index.

        Raises:
            ContextError: if there is nothing to start from, or it does not fit the world. The
                episodes then go on as if nothing had been asked.
        """
        mask = np.ones(self.num_envs, np.bool_) if mask is None else mask
        indices = np.flatnonzero(mask)
        if self.state is None and len(indices) < self.num_envs:
            raise ResetNeeded("reset all streams once before resetting some of them.")
        asked = [
            parse_options(options[i] if options else None, self.world) for i in indices.tolist()
        ]
        firsts, episodes = self._next_seeds(indices, seeds)
        # Everything that can go wrong goes wrong before the first stream is touched.
        plan = self._plan(firsts, episodes, asked)
        begun = []
        for places, context in plan:
            keys = torch.from_numpy(_seeds(firsts[places], episodes[places]))
            begun.append((places, self.rollout.begin(context, keys), context))
        self.first_seeds[indices], self.episodes[indices] = firsts, episodes
        self.steps[indices], self.finished[indices] = 0, False
        for places, state, context in begun:
            self._put(indices[places], state)
            self.observations[indices[places]] = context.frames[:, -1].numpy()
        for places, snapshot in _snapshots(asked):
            self._return_to(snapshot, indices[places])
            # A seed given beside a snapshot asks for another future of the same moment.
            given = np.array([seeds is not None and seeds[i] is not None for i in indices[places]])
            self._reseed(indices[places][given], firsts[places][given])
            kept = indices[places][~given]
            self.first_seeds[kept] = snapshot.first_seeds[0]
            self.episodes[kept] = snapshot.episodes[0]
        return {int(i): self._reset_info(int(i)) for i in indices}

    def step(self, actions: np.ndarray, skip: np.ndarray | None = None) -> CoreStep:
        """Takes one step in every stream.

        Args:
            actions: float32 (B, K), encoded by the world's ActionSpec.
            skip: bool (B,), streams that are about to be reset: their row of the result is
                meaningless, and they may be finished.

        Raises:
            ResetNeeded: if a stream that is not skipped has finished or was never reset.
        """
        waiting = self.finished if skip is None else self.finished & ~skip
        if self.state is None or waiting.any():
            raise ResetNeeded(
                "the episode of stream "
                f"{', '.join(map(str, np.flatnonzero(waiting)))} has ended or never began: "
                "call reset() before step()."
            )
        # torch.tensor copies: the state may keep the actions, and the caller may reuse the array.
        encoded = torch.tensor(actions, device=self.device)
        self.state, outcome = self.rollout.advance(self.state, encoded)
        observations = np.array(outcome.frames.cpu().numpy())
        rewards, ended, probability, uncertainty = _numbers(outcome)
        if self.reward_function is not None:
            rewards = self._user_rewards(actions, observations)
        terminated = np.zeros(self.num_envs, np.bool_) if self.endless else ended > 0.5
        self.observations = observations
        self.steps += 1
        truncated, reasons = self.limits.truncations(self.steps, uncertainty)
        self.finished = terminated | truncated
        return CoreStep(
            observations.copy(),
            rewards,
            terminated,
            truncated,
            reasons,
            probability,
            uncertainty,
            self.steps.copy(),
        )

    # -- snapshots -----------------------------------------------------------------------------

    def save(self, indices: Sequence[int] | None = None) -> Snapshot:
        """A snapshot of the streams at ``indices`` (default: all), sharing no memory with them.

        Raises:
            ResetNeeded: before the first reset.
        """
        if self.state is None:
            raise ResetNeeded("there is nothing to save before the first reset().")
        chosen = np.arange(self.num_envs) if indices is None else np.asarray(indices, np.int64)
        if indices is None:
            state = self.state.clone()
        else:
            state = self.state.select(torch.from_numpy(chosen).to(self.device)).clone()
        return Snapshot(
            self.world.model_id,
            state.to("cpu"),
            self.observations[chosen],
            self.steps[chosen],
            self.first_seeds[chosen],
            self.episodes[chosen],
            self.finished[chosen],
        )

    def restore(
        self,
        snapshot: Snapshot,
        indices: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        """Returns the streams at ``indices`` (default: all) to a snapshot.

        Args:
            snapshot: of as many streams, or of one, which then becomes each of them.
            indices: the streams.
            seeds: one for each of them: from here on the noise is drawn from these, which gives
                other futures of the same moment. Default: the future that it had.

        Raises:
            ContextError: if the snapshot is of another world or number of streams.
        """
        check_snapshot(snapshot, self.world)
        chosen = np.arange(self.num_envs) if indices is None else np.asarray(indices, np.int64)
        if snapshot.batch_size not in (1, len(chosen)):
            raise ContextError(
                f"the snapshot holds {snapshot.batch_size} streams; expected 1 (to branch into "
                f"all) or {len(chosen)}."
            )
        if self.state is None and len(chosen) < self.num_envs:
            raise ResetNeeded("reset all streams once before restoring some of them.")
        if seeds is not None and len(seeds) != len(chosen):
            raise ValueError(f"{len(seeds)} seeds for {len(chosen)} streams: give one for each.")
        self._return_to(snapshot, chosen)
        self.first_seeds[chosen] = snapshot.first_seeds
        self.episodes[chosen] = snapshot.episodes
        if seeds is not None:
            self._reseed(chosen, np.array([episode_seed(int(s), 0) for s in seeds], np.int64))

    def branch(self, indices: Sequence[int]) -> ImaginedCore:
        """A core of its own that goes on from the streams at ``indices``, which may repeat.

        The rollout and the world are shared, the episodes are not.
        """
        core = ImaginedCore(
            self.world,
            self.rollout,
            len(indices),
            self.starts,
            self.limits,
            endless=self.endless,
            reward_function=self.reward_function,
        )
        core.restore(self.save(indices))
        return core

    # -- the rest ------------------------------------------------------------------------------

    def set_max_episode_steps(self, steps: int | None) -> None:
        """Sets the horizon; it stays off where ``endless``."""
        self.limits = replace(self.limits, max_episode_steps=None if self.endless else steps)

    def close(self) -> None:
        """Closes what supplies the starts, if it needs closing."""
        close = getattr(self.starts, "close", None)
        if close is not None:
            close()

    # -- parts of the above --------------------------------------------------------------------

    def _next_seeds(
        self, indices: np.ndarray, seeds: Sequence[int | None] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(first seeds, episode numbers) of the episodes that are about to start, int64 (b,)."""
        firsts, episodes = self.first_seeds[indices], self.episodes[indices] + 1
        for place, index in enumerate(indices):
            seed = None if seeds is None else seeds[index]
            if seed is None and firsts[place] == UNSEEDED:
                seed = int(np.random.default_rng().integers(2**31))
            if seed is not None:
                if seed < 0:
                    raise ValueError(f"seed={seed}: expected a whole number of at least 0.")
                firsts[place], episodes[place] = episode_seed(int(seed), 0), 0
        return firsts, episodes

    def _plan(
        self,
        firsts: np.ndarray,
        episodes: np.ndarray,
        asked: Sequence[Context | Snapshot | None],
    ) -> list[tuple[np.ndarray, Context]]:
        """Which places begin with which contexts; those that return to a snapshot need none."""
        contexts: dict[int, Context] = {
            place: wish for place, wish in enumerate(asked) if isinstance(wish, Context)
        }
        drawing = np.array([place for place, wish in enumerate(asked) if wish is None], np.int64)
        if len(drawing):
            seeds = _seeds(firsts[drawing], episodes[drawing]).tolist()
            drawn = self.starts.draw(seeds)
            if len(drawn) != len(seeds):
                raise ContextError(
                    f"the start provider {type(self.starts).__name__} gave {len(drawn)} contexts "
                    f"for {len(seeds)} episodes."
                )
            for place, context in zip(drawing.tolist(), drawn, strict=True):
                contexts[place] = check_context(context, self.world)
        order = sorted(contexts)
        return [
            (np.array(order, np.int64)[places], context)
            for places, context in groups([contexts[place] for place in order])
        ]

    def _return_to(self, snapshot: Snapshot, indices: np.ndarray) -> None:
        state = snapshot.state
        if snapshot.batch_size != len(indices):
            state = state.select(torch.zeros(len(indices), dtype=torch.int64))
        self._put(indices, state.clone().to(self.device))
        self.observations[indices] = snapshot.observations
        self.steps[indices] = snapshot.steps
        self.finished[indices] = snapshot.finished

    def _reseed(self, indices: np.ndarray, seeds: np.ndarray) -> None:
        """Lets the streams at ``indices`` go on with other noise, and its successors."""
        places = torch.from_numpy(indices).to(self.device)
        self.state.seeds[places] = torch.from_numpy(seeds).to(self.device)
        self.first_seeds[indices], self.episodes[indices] = seeds, 0

    def _put(self, indices: np.ndarray, state: Any) -> None:
        """Puts ``state`` in the place of the streams at ``indices``."""
        if np.array_equal(indices, np.arange(self.num_envs)):
            self.state = state
            return
        if self.state is None:
            # The first of several groups: the others overwrite their rows right after.
            everywhere = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
            self.state = state.select(everywhere)
        self.state.scatter(torch.from_numpy(indices).to(self.device), state)

    def _reset_info(self, index: int) -> dict[str, Any]:
        first, episode = int(self.first_seeds[index]), int(self.episodes[index])
        return {
            "imagined_steps": int(self.steps[index]),
            "uncertainty": 0.0,
            "termination_probability": 0.0,
            "episode_seed": episode_seed(first, episode),
        }

    def _user_rewards(self, actions: np.ndarray, observations: np.ndarray) -> np.ndarray:
        assert self.reward_function is not None
        given = self.reward_function(self.observations.copy(), actions.copy(), observations.copy())
        rewards = np.array(given, np.float64)
        if rewards.shape != (self.num_envs,):
            raise ValueError(
                f"the reward function returned shape {rewards.shape}; expected one reward for "
                f"each of the {self.num_envs} streams: ({self.num_envs},)."
            )
        return rewards


def _seeds(firsts: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    pairs = zip(firsts.tolist(), episodes.tolist(), strict=True)
    return np.array([episode_seed(first, episode) for first, episode in pairs], np.int64)


def _snapshots(
    asked: Sequence[Context | Snapshot | None],
) -> list[tuple[np.ndarray, Snapshot]]:
    """The snapshots that are asked for, each with the places that ask for it."""
    places: dict[int, list[int]] = {}
    for place, wish in enumerate(asked):
        if isinstance(wish, Snapshot):
            places.setdefault(id(wish), []).append(place)
    return [(np.array(found), asked[found[0]]) for found in places.values()]  # type: ignore[misc]


def _numbers(outcome: StepOutcome) -> np.ndarray:
    """The numbers of an outcome as float64 (4, B), brought from the device in one go."""
    numbers = torch.stack(
        [
            outcome.rewards.float(),
            outcome.terminated.float(),
            outcome.termination_probability.float(),
            outcome.uncertainty.float(),
        ]
    )
    return numbers.cpu().numpy().astype(np.float64)
