"""World models with the interface of DIAMOND's ``WorldModelEnv`` in ``nfd evaluate``.

Several projects share it (Alonso et al. 2024, and what came of it): a batch of streams as float
tensors in [-1, 1], ``reset()`` that takes its contexts from a loader of real segments, ``step(act)
-> obs, rew, end, trunc, info`` with rewards and ends drawn as classes, and no seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import torch
from gymnasium import spaces

from agents.policies import Policy
from benchmarks.env_players import Stepped
from benchmarks.episode_ends import Ends
from benchmarks.imagined_env import EnvWorld
from nfd_env.seeding import SHORT_SEEDS, mix
from world_model.action_spec import ActionSpec
from world_model.errors import NFDError
from world_model.types import Context


class ContextLoader:
    """Stands in for the loader of real segments: every batch of it is the same contexts.

    A batch has ``obs``, float32 (B, T, 3, H, W) in [-1, 1], and ``act``, int64 (B, T):
    ``act[:, t]`` was taken at ``obs[:, t]``. What is taken at the last one is up to ``step``.
    """

    def __init__(self, contexts: Context, device: torch.device | str) -> None:
        frames = contexts.frames.to(device).float().div(127.5).sub(1)
        self.obs = frames.permute(0, 1, 4, 2, 3).contiguous()
        # Here an action comes after its frame, in a context of ours before it.
        taken = contexts.actions.to(device)[..., 0].roll(-1, dims=1)
        taken[:, -1] = 0
        self.act = taken.long()
        self.batch_sampler = SimpleNamespace(batch_size=len(frames))

    def __iter__(self) -> Iterator[SimpleNamespace]:
        """The same batch, for ever."""
        while True:
            yield SimpleNamespace(obs=self.obs.clone(), act=self.act.clone())


class DiamondEnv:
    """Plays the streams of one such environment, made anew for each batch of contexts.

    Args:
        make_env: from a :class:`ContextLoader` to the environment.
        device: where its tensors live.
        streams: at most.
    """

    def __init__(self, make_env: Callable[[ContextLoader], Any], device: str, streams: int) -> None:
        self.make_env, self.device, self.streams = make_env, device, streams
        self._env: Any = None
        self._seed = self._steps = 0

    @torch.no_grad()
    def begin(self, contexts: Context, seeds: Sequence[int]) -> None:
        """See :class:`benchmarks.imagined_env.Player`.

        Raises:
            NFDError: if the environment does not begin with the contexts.
        """
        loader = ContextLoader(contexts, self.device)
        self._seed, self._steps = int(seeds[0]), 0
        with self._dice():
            self._env = self.make_env(loader)
            observations, _ = self._env.reset()
        if not torch.equal(observations.to(self.device), loader.obs[:, -1]):
            raise NFDError(
                "reset() does not return the newest frames of the loader's first batch: the "
                "environment must begin with the contexts that it is given, in their order."
            )

    @torch.no_grad()
    def step(self, actions: np.ndarray, over: np.ndarray) -> Stepped:
        """See :class:`benchmarks.imagined_env.Player`."""
        chosen = torch.from_numpy(actions[:, 0].copy()).long().to(self.device)
        self._steps += 1
        with self._dice():
            observations, rewards, ended, cut, info = self._env.step(chosen)
        terminated, truncated = (flags.bool().cpu().numpy() for flags in (ended, cut))
        dead = terminated | truncated
        if dead.any() and "final_observation" in info:
            # Where an episode ended, the observation is the next one's already.
            observations = observations.clone()
            observations[torch.from_numpy(dead).to(observations.device)] = info["final_observation"]
        return Stepped(
            to_frames(observations),
            rewards.double().cpu().numpy(),
            terminated,
            truncated,
            terminated.astype(np.float64),
        )

    def play(self, policy: Policy, seeds: Sequence[int], environment: str, ends: Ends) -> NoReturn:
        """Raises NFDError: it begins with contexts that somebody must give, and keeps no seeds."""
        raise NFDError(
            f"{environment} has no episodes of its own seeds: it begins with segments that it is "
            "given, so policies are not ranked in it."
        )

    def close(self) -> None:
        """See :class:`benchmarks.imagined_env.Player`."""
        self._env = None

    @contextmanager
    def _dice(self) -> Iterator[None]:
        """Torch's global dice, which are all that there is, thrown the same way each time."""
        with torch.random.fork_rng():
            torch.manual_seed(mix(mix(self._seed) + self._steps) & SHORT_SEEDS)
            yield


class DiamondWorld(EnvWorld):
    """An environment with DIAMOND's interface, as ``nfd evaluate`` takes a world.

    Noise is that of a whole batch: results depend on ``--batch``.

    Args:
        make_env: from a :class:`ContextLoader`, in the place of the loader of real segments, to the
            environment. It is called for every batch of clips: load weights outside of it, and
            have one batch preloaded only. Episodes should be longer than the clips.
        name: of the world, in results.
        frame_shape: height, width and channels of its frames.
        actions: number of actions, or their names.
        context_length: frames that it begins with (its ``num_steps_conditioning``).
        source: the real environment, as for :class:`~benchmarks.imagined_env.EnvWorld`.
        fps: steps per second.
        max_episode_steps: of the real environment.
        device: where its tensors live.
        streams: side by side, at most.
    """

    def __init__(
        self,
        make_env: Callable[[ContextLoader], Any],
        *,
        name: str,
        frame_shape: tuple[int, int, int],
        actions: int | Sequence[str],
        context_length: int = 4,
        source: Mapping[str, Any] | None = None,
        fps: float = 15.0,
        max_episode_steps: int | None = None,
        device: str = "cpu",
        streams: int = 32,
    ) -> None:
        names = None if isinstance(actions, int) else list(actions)
        count = actions if isinstance(actions, int) else len(actions)
        self.action_spec = ActionSpec.from_space(spaces.Discrete(count), names=names)
        self.player = DiamondEnv(make_env, device, streams)
        self.describe(name, frame_shape, context_length, source, fps, max_episode_steps)


def to_frames(observations: torch.Tensor) -> np.ndarray:
    """Frames uint8 (B, H, W, 3) of observations float (B, 3, H, W) in [-1, 1]."""
    pixels = observations.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
