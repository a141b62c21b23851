"""An imagined environment with the interface of DIAMOND's: float frames, drawn outcomes, no seeds.

It imagines the sliding game of :mod:`tests.benchmarks.sliding`. Streams whose episode ends begin
anew in the same step, and what they last showed is in ``info["final_observation"]``.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.benchmarks.sliding import SlidingWorld
from world_model.types import Context


class WorldModelEnv:
    """A batch of streams.

    Args:
        world: what imagines.
        loader: batches of real segments; it says how many streams there are.
        horizon: steps after which an episode is cut off.
        preload: batches that are taken from the loader at a time.
    """

    def __init__(
        self, world: SlidingWorld, loader: Any, horizon: int = 50, preload: int = 1
    ) -> None:
        self.rollout = world.make_rollout()
        self.loader, self.horizon, self.preload = iter(loader), horizon, preload
        self.num_envs = loader.batch_sampler.batch_size
        self.waiting: list[tuple[torch.Tensor, torch.Tensor]] = []

    def reset(self, **kwargs: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        self.ep_len = torch.zeros(self.num_envs, dtype=torch.long)
        obs, act = self._draw(self.num_envs)
        self.state = self._begin(obs, act)
        return obs[:, -1], {}

    def step(self, act: torch.Tensor) -> tuple[Any, ...]:
        self.state, outcome = self.rollout.advance(self.state, act[:, None].float())
        obs = outcome.frames.permute(0, 3, 1, 2).float() / 255 * 2 - 1
        # Outcomes are drawn, as classes.
        end = torch.bernoulli(outcome.termination_probability).long()
        rew = outcome.rewards.sign()
        self.ep_len += 1
        trunc = (self.ep_len >= self.horizon).long()
        info: dict[str, Any] = {}
        dead = torch.logical_or(end, trunc)
        if dead.any():
            info["final_observation"] = obs[dead]
            fresh, before = self._draw(int(dead.sum()))
            obs[dead] = fresh[:, -1]
            self.ep_len[dead] = 0
            self.state.scatter(dead.nonzero()[:, 0], self._begin(fresh, before))
        return obs, rew, end, trunc, info

    def _draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        while len(self.waiting) < count:
            for _ in range(self.preload):
                batch = next(self.loader)
                self.waiting += zip(batch.obs, batch.act, strict=True)
        drawn, self.waiting = self.waiting[:count], self.waiting[count:]
        obs, act = zip(*drawn, strict=True)
        return torch.stack(obs), torch.stack(act)

    def _begin(self, obs: torch.Tensor, act: torch.Tensor) -> Any:
        frames = ((obs + 1) / 2 * 255).round().byte().permute(0, 1, 3, 4, 2)
        produced = torch.full((*act.shape, 1), torch.nan)
        produced[:, 1:, 0] = act[:, :-1].float()
        seeds = torch.randint(2**31, (len(obs),))
        return self.rollout.begin(Context(frames, produced), seeds)
