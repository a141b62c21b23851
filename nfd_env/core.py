"""The batched core behind every face of the environment: B imagined episodes, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded

from nfd_env.action_adapter import ActionAdapter
from nfd_env.core_step import CoreStep, numbers_of, reset_info, to_numpy
from nfd_env.reset_options import check_snapshot, parse_options
from nfd_env.seeding import EpisodeSeeds, episode_seed
from nfd_env.snapshot import Snapshot
from nfd_env.starts import StartProvider, draw_starts, groups
from nfd_env.trust import TrustLimits
from world_model.errors import ContextError
from world_model.types import Context, StepOutcome

RewardFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(frames uint8 (B, H, W, 3), encoded actions float32 (B, K), next frames) -> rewards (B,)."""

PLAIN = "frame by frame"
"""Kind of the states of rollouts that do not speculate jointly."""


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
        adapter: encodes the actions of whoever plays, for :meth:`step`; default: as the world's
            own ActionSpec does.
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
        adapter: ActionAdapter | None = None,
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
        self.adapter: ActionAdapter = world.action_spec if adapter is None else adapter
        self.device = torch.device(getattr(rollout, "device", "cpu"))
        self.state: Any = None
        shape = (num_envs, *world.config.frame_shape)
        self.frames = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        self.steps = np.zeros(num_envs, np.int64)
        self.seeds = EpisodeSeeds.unseeded(num_envs)
        self.finished = np.ones(num_envs, np.bool_)

    @property
    def observations(self) -> np.ndarray:
        """uint8 (B, H, W, 3): a copy of the newest frames of all streams."""
        return to_numpy(self.frames)

    def observation(self, i: int) -> np.ndarray:
        """uint8 (H, W, 3): a copy of the newest frame of stream ``i``."""
        return to_numpy(self.frames[i])

    # -- episodes ------------------------------------------------------------------------------

    def reset(
        self,
        mask: np.ndarray | None = None,
        seeds: Sequence[int | None] | None = None,
        options: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[int, dict[str, Any]]:
        """Starts new episodes; ``frames`` then hold their first ones.

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
            parse_options(options[i] if options else None, self.world, self.adapter)
            for i in indices.tolist()
        ]
        wanted = [None if seeds is None else seeds[i] for i in indices.tolist()]
        upcoming = self.seeds.select(indices).upcoming(wanted)
        # Everything that can go wrong goes wrong before the first stream is touched.
        begun = self._begin(upcoming.values(), asked)
        self.seeds.put(indices, upcoming)
        self.steps[indices], self.finished[indices] = 0, False
        for places, context, state in begun:
            self._put(indices[places], state)
            self._show(indices[places], context.frames[:, -1])
        for place, wish in enumerate(asked):
            if isinstance(wish, Snapshot):
                # A seed given beside it asks for another future of the same moment.
                reseeded = None if wanted[place] is None else [int(upcoming.firsts[place])]
                self._return_to(wish, indices[place : place + 1], reseeded)
        values = self.seeds.values().tolist()
        return {i: reset_info(values[i], int(self.steps[i])) for i in indices.tolist()}

    def step(self, actions: np.ndarray, skip: np.ndarray | None = None) -> CoreStep:
        """Takes one step in every stream.

        Args:
            actions: float32 (B, K), encoded by the world's ActionSpec.
            skip: bool (B,), streams that are about to be reset: their row of the result is
                meaningless, and they may be finished.

        Raises:
            ResetNeeded: if a stream that is not skipped has finished or was never reset.
        """
        self._check_going_on(self.finished if skip is None else self.finished & ~skip)
        # torch.tensor copies: the state may keep the actions, and the caller may reuse the array.
        encoded = torch.tensor(actions, device=self.device)
        self.state, outcome = self.rollout.advance(self.state, encoded)
        return self._settle(np.arange(self.num_envs), actions, outcome)

    def step_some(self, indices: Sequence[int] | np.ndarray, actions: np.ndarray) -> CoreStep:
        """Takes one step in some streams; the others stay where they are and cost nothing.

        The noise of a stream is the same in every batch. Its frames are too, to the last bit where
        the backend's matrix products do not depend on the number of their rows.

        Args:
            indices: the streams, each once.
            actions: float32 (len(indices), K), encoded by the world's ActionSpec.

        Returns:
            The step of these streams, in the order of ``indices``.

        Raises:
            ResetNeeded: if one of them has finished or was never reset.
        """
        chosen = np.asarray(indices, np.int64)
        if len(np.unique(chosen)) != len(chosen):
            raise ValueError(f"indices={chosen.tolist()} name a stream twice.")
        if np.array_equal(chosen, np.arange(self.num_envs)):
            return self.step(actions)
        asked = np.zeros(self.num_envs, np.bool_)
        asked[chosen] = True
        self._check_going_on(self.finished & asked)
        where = torch.from_numpy(chosen).to(self.device)
        encoded = torch.tensor(actions, device=self.device)
        part, outcome = self.rollout.advance(self.state.select(where), encoded)
        self.state.scatter(where, part)
        return self._settle(chosen, actions, outcome)

    def hint(self, actions: np.ndarray) -> None:
        """Tells a speculative rollout which actions are likely next; others take no notice.

        Args:
            actions: float32 (n, K), encoded, the likeliest first.

        Raises:
            ResetNeeded: before the first reset.
        """
        if self.state is None:
            raise ResetNeeded("call reset() before hint().")
        if hasattr(self.rollout, "hint"):
            self.rollout.hint(self.state, torch.tensor(actions))

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
            self.seeds.select(chosen),
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
        firsts = None if seeds is None else [episode_seed(int(seed), 0) for seed in seeds]
        self._return_to(snapshot, chosen, firsts)

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
            adapter=self.adapter,
        )
        core.restore(self.save(indices))
        return core

    # -- the rest ------------------------------------------------------------------------------

    def set_max_episode_steps(self, steps: int | None) -> None:
        """Sets the horizon; it stays off where ``endless``."""
        self.limits = replace(self.limits, max_episode_steps=None if self.endless else steps)

    def close(self) -> None:
        """Closes what supplies the starts and what computes ahead, if they need closing."""
        for part in (self.starts, self.rollout):
            close = getattr(part, "close", None)
            if close is not None:
                close()

    # -- parts of the above --------------------------------------------------------------------

    def _begin(
        self, seeds: np.ndarray, asked: Sequence[Context | Snapshot | None]
    ) -> list[tuple[np.ndarray, Context, Any]]:
        """Begins what does not return to a snapshot: [(places, contexts, state), ...]."""
        contexts = {i: wish for i, wish in enumerate(asked) if isinstance(wish, Context)}
        usual = [i for i, wish in enumerate(asked) if wish is None]
        drawn = draw_starts(self.starts, seeds[usual].tolist(), self.world)
        contexts.update(zip(usual, drawn, strict=True))
        return [
            (places, context, self.rollout.begin(context, torch.from_numpy(seeds[places])))
            for places, context in groups(contexts)
        ]

    def _return_to(
        self, snapshot: Snapshot, indices: np.ndarray, firsts: Sequence[int] | None
    ) -> None:
        """Puts a snapshot in place of streams; ``firsts``: new seeds from here on, or None."""
        state = snapshot.state
        ours = getattr(self.rollout, "state_kind", PLAIN)
        theirs = getattr(state, "kind", PLAIN)
        if ours != theirs:
            raise ContextError(
                f"the snapshot is of an environment with other speculation ({theirs}, here {ours}):"
                " return to it in one with the same speculation and speculation_depth."
            )
        if snapshot.batch_size != len(indices):
            state = state.select(torch.zeros(len(indices), dtype=torch.int64))
        state = state.clone().to(self.device)
        self.seeds.put(indices, snapshot.seeds)
        if firsts is not None:
            values = np.array(firsts, np.int64)
            state.seeds.copy_(torch.from_numpy(values))
            self.seeds.put(indices, EpisodeSeeds(values, np.zeros(len(values), np.int64)))
        self._put(indices, state)
        self._show(indices, torch.from_numpy(snapshot.observations))
        self.steps[indices] = snapshot.steps
        self.finished[indices] = snapshot.finished

    def _show(self, indices: np.ndarray, frames: torch.Tensor) -> None:
        """Makes ``frames`` the newest ones of the streams at ``indices``."""
        # A copy: the old ones were handed out.
        self.frames = self.frames.clone()
        self.frames[torch.from_numpy(indices).to(self.device)] = frames.to(self.device)

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

    def _check_going_on(self, waiting: np.ndarray) -> None:
        """Raises ResetNeeded before the first reset, or if a stream of ``waiting`` (B,) waits."""
        if self.state is None or waiting.any():
            raise ResetNeeded(
                "the episode of stream "
                f"{', '.join(map(str, np.flatnonzero(waiting)))} has ended or never began: "
                "call reset() before step()."
            )

    def _settle(self, chosen: np.ndarray, actions: np.ndarray, outcome: StepOutcome) -> CoreStep:
        """Takes over what the rollout made of the streams at ``chosen``."""
        frames = outcome.frames.clone()  # a rollout may reuse its buffers
        rewards, ended, probability, uncertainty = numbers_of(outcome)
        if self.reward_function is not None:
            before = self.observations[chosen]
            rewards = self._user_rewards(before, actions, to_numpy(frames))
        if np.array_equal(chosen, np.arange(self.num_envs)):
            self.frames = frames
        else:
            self._show(chosen, frames)
        self.steps[chosen] += 1
        steps = self.steps[chosen]
        terminated = np.zeros(len(chosen), np.bool_) if self.endless else ended > 0.5
        truncated, reasons = self.limits.truncations(steps, uncertainty)
        self.finished[chosen] = terminated | truncated
        return CoreStep(
            frames, rewards, terminated, truncated, reasons, probability, uncertainty, steps
        )

    def _user_rewards(
        self, before: np.ndarray, actions: np.ndarray, after: np.ndarray
    ) -> np.ndarray:
        assert self.reward_function is not None
        rewards = np.array(self.reward_function(before, actions.copy(), after), np.float64)
        if rewards.shape != (len(after),):
            raise ValueError(
                f"the reward function returned shape {rewards.shape}; expected one reward for "
                f"each of the {len(after)} streams: ({len(after)},)."
            )
        return rewards
