"""Behaviour cloning: a policy that begins as an imitator of the best recorded play.

PPO explores step by step, and a world whose reward is merely to be alive tells it little until it
has found, by luck, something that keeps it alive. The recordings that the world was learned from
already hold episodes that went well. Imitating these costs seconds, needs neither real nor imagined
steps, and leaves a policy that moves with a purpose, for PPO in imagination to improve. (Filtered
behaviour cloning, as in Chen et al. 2021, "Decision Transformer", section 5; VPT starts its agents
so as well.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from agents.observers import Inputs, Observer
from agents.statistics import format_number
from world_model.data.store import EpisodeStore
from world_model.errors import DataError, DivergenceError

LANES = 32
"""Episodes that are watched side by side."""


@dataclass(frozen=True)
class ImitationConfig:
    """Settings of behaviour cloning."""

    players: tuple[str, ...] = ("*",)
    """Shell patterns of the names under which the data set lists its players, such as `sweep-2?*`:
    whose episodes may be imitated. Luck makes poor players live long now and then, so naming good
    ones beats choosing by the returns."""
    share: float = 0.25
    """Of their episodes, those with the highest returns are imitated: this share."""
    frames: int = 100_000
    """At most so many of their frames, as all are kept in memory."""
    steps: int = 3000
    """Gradient steps."""
    batch_size: int = 512
    """Frames in one gradient step."""
    learning_rate: float = 1e-3
    """Of AdamW, at the start; it falls linearly to a hundredth."""
    weight_decay: float = 0.02
    """Of AdamW."""


@dataclass(frozen=True)
class Imitation:
    """What came of it, on the best episodes of the validation split."""

    episodes: int
    """Episodes that were imitated."""
    frames: int
    """Their frames."""
    mean_return: float
    """Their mean return."""
    cross_entropy: float
    """Of the recorded actions under the policy, in nats."""
    accuracy: float
    """Share of the recorded actions that the policy holds to be the likeliest."""

    def describe(self) -> str:
        """It in a line."""
        return (
            f"imitates the best {self.episodes:,} episodes ({self.frames:,} frames, mean return "
            f"{format_number(self.mean_return)}); on held-out ones {self.accuracy:.0%} of its "
            f"likeliest actions are those recorded, cross entropy {self.cross_entropy:.2f}"
        )


@dataclass(frozen=True)
class Recorded:
    """What an observer saw of some episodes, and what was done there."""

    inputs: Inputs
    """(N, ...), of the network; floats in fp16."""
    actions: Tensor
    """int64 (N,), indices of the Discrete action space, from 0."""

    def __len__(self) -> int:
        return len(self.actions)

    def take(self, rows: Tensor) -> tuple[Any, Tensor]:
        """Inputs, floats in fp32, and actions of the given rows."""
        if isinstance(self.inputs, dict):
            return {k: _single(v[rows]) for k, v in self.inputs.items()}, self.actions[rows]
        return _single(self.inputs[rows]), self.actions[rows]


def imitate(
    network: ActorCriticPolicy,
    observer: Observer,
    store: EpisodeStore,
    config: ImitationConfig,
    *,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda step: None,
) -> Imitation:
    """Trains ``network``, in place, to act as the best recorded episodes did.

    Its value function is left as it is.

    Args:
        network: a policy of a Discrete action space.
        observer: what turns frames into its inputs.
        store: recorded episodes.
        config: settings.
        seed: of the choice of frames.
        on_step: called with the number of gradient steps so far.

    Raises:
        DataError: if the data set has other frames or actions, or no episodes to learn from.
        DivergenceError: if the loss is not finite.
    """
    players, share = config.players, config.share
    chosen = best_episodes(store, "train", share, config.frames, players)
    held_out = best_episodes(store, "validation", share, config.frames // 5, players)
    taught, asked = (watch(observer, store, episodes) for episodes in (chosen, held_out))
    parameters = [p for name, p in network.named_parameters() if "value_net" not in name]
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    network.set_training_mode(True)
    for step in range(config.steps):
        left = 1 - step / config.steps
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * max(left, 0.01)
        rows = torch.randint(len(taught), (config.batch_size,), generator=generator)
        loss = _cross_entropy(network, taught, rows).mean()
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"imitation diverged at step {step}: the loss is {loss.item()}. Lower its "
                "learning rate."
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        on_step(step + 1)
    network.set_training_mode(False)
    entropy, accuracy = _score(network, asked)
    returns = episode_returns(store)[chosen]
    return Imitation(len(chosen), len(taught), float(returns.mean()), entropy, accuracy)


def episode_returns(store: EpisodeStore) -> np.ndarray:
    """float64 (E,): the sum of rewards of every episode."""
    # The action at a row without a next frame still earned its reward.
    rewards = np.nan_to_num(np.asarray(store.rewards, np.float64))
    return np.add.reduceat(rewards, store.offsets[:-1])


def best_episodes(
    store: EpisodeStore, split: str, share: float, frames: int, players: Sequence[str] = ("*",)
) -> np.ndarray:
    """The episodes of a split with the highest returns, the best one first.

    Args:
        store: recorded episodes.
        split: ``train`` or ``validation``.
        share: of its episodes, in (0, 1].
        frames: at most so many in all, but at least one episode.
        players: shell patterns of the players' names, see :class:`ImitationConfig`.

    Raises:
        DataError: if the share is not in (0, 1], or the split has no episodes of these players.
    """
    if not 0 < share <= 1:
        raise DataError(f"share={share}: expected a share of the episodes, above 0 and up to 1.")
    names = {int(i): store.episode(int(i)).info.get("policy", "") for i in store.split(split)}
    episodes = np.array(
        [i for i, name in names.items() if any(fnmatchcase(name, p) for p in players)], np.int64
    )
    if len(episodes) == 0:
        known = sorted(set(names.values()))
        raise DataError(
            f"the split {split!r} of {store.root} has no episodes of players {list(players)}; its "
            f"players are {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}."
        )
    order = np.argsort(-episode_returns(store)[episodes], kind="stable")
    best = episodes[order[: max(1, round(share * len(episodes)))]]
    fitting = np.cumsum(store.lengths[best]) <= frames
    return best[: max(1, int(fitting.sum()))]


def watch(observer: Observer, store: EpisodeStore, episodes: np.ndarray) -> Recorded:
    """Shows recorded episodes to an observer, frame by frame.

    Raises:
        DataError: if an action is not an index of a Discrete action space.
    """
    seen: list[Any] = []
    taken: list[np.ndarray] = []
    # Of similar length side by side, so that few of them idle.
    by_length = episodes[np.argsort(store.lengths[episodes], kind="stable")]
    for first in range(0, len(by_length), LANES):
        lanes = [store.episode(int(e)) for e in by_length[first : first + LANES]]
        state = observer.begin(len(lanes))
        produced = np.full((len(lanes), store.action_spec.dim), np.nan, np.float32)
        for step in range(max(len(lane.actions) for lane in lanes)):
            alive = np.array([step < len(lane.actions) for lane in lanes])
            at = [min(step, len(lane.frames) - 1) for lane in lanes]
            frames = np.stack([lane.frames[i] for lane, i in zip(lanes, at, strict=True)])
            seen.append(_kept(observer.see(state, frames, produced), alive))
            produced = np.stack(
                [lane.actions[min(step, len(lane.actions) - 1)] for lane in lanes]
            ).astype(np.float32)
            taken.append(produced[alive])
    actions = np.concatenate(taken)
    indices = actions[:, 0].astype(np.int64)
    if actions.shape[1] != 1 or not np.array_equal(indices, actions[:, 0]):
        raise DataError("only policies of Discrete action spaces imitate recorded ones so far.")
    if isinstance(seen[0], dict):
        inputs: Inputs = {name: torch.cat([part[name] for part in seen]) for name in seen[0]}
    else:
        inputs = torch.cat(seen)
    return Recorded(inputs, torch.from_numpy(indices))


def _cross_entropy(network: ActorCriticPolicy, recorded: Recorded, rows: Tensor) -> Tensor:
    inputs, actions = recorded.take(rows)
    device = network.device
    moved = {k: v.to(device) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs
    distribution = network.get_distribution(moved if isinstance(moved, dict) else moved.to(device))
    return -distribution.log_prob(actions.to(device))


@torch.no_grad()
def _score(network: ActorCriticPolicy, recorded: Recorded) -> tuple[float, float]:
    """Cross entropy and accuracy over all of ``recorded``."""
    losses, hits = [], []
    for rows in torch.arange(len(recorded)).split(1024):
        losses.append(_cross_entropy(network, recorded, rows).cpu())
        inputs, actions = recorded.take(rows)
        best, _ = network.predict(
            {k: v.numpy() for k, v in inputs.items()}
            if isinstance(inputs, dict)
            else inputs.numpy(),
            deterministic=True,
        )
        hits.append(torch.from_numpy(np.asarray(best)) == actions)
    return float(torch.cat(losses).mean()), float(torch.cat(hits).float().mean())


def _kept(inputs: Inputs, alive: np.ndarray) -> Any:
    """The rows that are alive, copied; floats in fp16, to hold many of them."""
    rows = torch.from_numpy(alive)
    if isinstance(inputs, dict):
        return {name: _half(value[rows]) for name, value in inputs.items()}
    return _half(inputs[rows])


def _half(value: Tensor) -> Tensor:
    return value.half().cpu() if value.is_floating_point() else value.cpu()


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
