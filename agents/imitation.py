"""Behaviour cloning: a policy that begins as an imitator of the best recorded play.

PPO explores step by step, and a world whose reward is merely to be alive tells it little until it
has found, by luck, something that keeps it alive. The recordings that the world was learned from
already hold episodes that went well. Imitating these costs minutes, needs neither real nor imagined
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
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

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
    frames: int = 50_000
    """So many of their frames are drawn at random, as all are kept in memory (50 KB each for a
    stack of four of 64 x 64 pixels)."""
    gigabytes: float = 3.0
    """Memory for them: of large frames, no more are kept than fit."""
    steps: int = 800
    """Gradient steps."""
    batch_size: int = 256
    """Frames in one gradient step."""
    learning_rate: float = 6e-4
    """Of AdamW, at the start; it falls linearly to a hundredth."""
    weight_decay: float = 0.02
    """Of AdamW."""
    value_weight: float = 0.5
    """Weight of the value function's squared error: it learns what the recorded play was worth."""


@dataclass(frozen=True)
class Imitation:
    """What was imitated, and how well."""

    episodes: int
    """Episodes that were imitated."""
    frames: int
    """Their frames."""
    mean_return: float
    """Their mean return."""
    cross_entropy: float
    """Of the recorded actions under the policy, in nats, on the best held-out episodes."""
    accuracy: float
    """Share of the recorded actions there that the policy holds to be the likeliest."""
    left_out: int = 0
    """Frames that were asked for, but did not fit into memory."""

    def describe(self) -> str:
        """It in a line."""
        text = (
            f"imitates the best {self.episodes:,} episodes ({self.frames:,} frames, mean return "
            f"{format_number(self.mean_return)}); on held-out ones {self.accuracy:.0%} of its "
            f"likeliest actions are those recorded, cross entropy {self.cross_entropy:.2f}"
        )
        if self.left_out:
            text += (
                f"; {self.left_out:,} more frames did not fit into the memory that "
                "--imitation.gigabytes allows"
            )
        return text


@dataclass(frozen=True)
class Recorded:
    """What an observer saw of some episodes, and what was done there."""

    inputs: Inputs
    """(N, ...), of the network; floats in fp16."""
    actions: Tensor
    """int64 (N,), indices of the Discrete action space, from 0."""
    values: Tensor
    """float32 (N,), what came of it; NaN: unknown."""

    def __len__(self) -> int:
        return len(self.actions)

    def take(self, rows: Tensor, device: torch.device) -> tuple[Any, Tensor, Tensor]:
        """Inputs, floats in fp32, actions and values of the given rows."""
        inputs: Any = (
            {k: _single(v[rows]).to(device) for k, v in self.inputs.items()}
            if isinstance(self.inputs, dict)
            else _single(self.inputs[rows]).to(device)
        )
        return inputs, self.actions[rows].to(device), self.values[rows].to(device)


def imitate(
    network: ActorCriticPolicy,
    observer: Observer,
    store: EpisodeStore,
    config: ImitationConfig,
    *,
    values: np.ndarray,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda step: None,
) -> Imitation:
    """Trains ``network``, in place, to act as the best recorded episodes did.

    Args:
        network: a policy of a Discrete action space.
        observer: what turns frames into its inputs.
        store: recorded episodes.
        config: settings.
        values: float32 (rows,), what came of the action at each row of the data set, in the units
            of the value function; NaN where that is not known. See :func:`discounted_returns`.
        seed: of the choice of frames.
        on_step: called with the number of gradient steps so far.

    Raises:
        DataError: if the data set has other actions, or no episodes to learn from, or there is no
            memory for their frames.
        DivergenceError: if the loss is not finite.
    """
    rng = np.random.default_rng(seed)
    episodes = {
        split: best_episodes(store, split, config.share, config.players)
        for split in ("train", "validation")
    }
    frames = frames_that_fit(observer.space, config.frames, config.gigabytes)
    taught = watch(observer, store, episodes["train"], values, frames, rng)
    asked = watch(observer, store, episodes["validation"], values, max(1, frames // 10), rng)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    network.set_training_mode(True)
    for step in range(config.steps):
        left = 1 - step / config.steps
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * max(left, 0.01)
        rows = torch.randint(len(taught), (config.batch_size,), generator=generator)
        inputs, actions, worth = taught.take(rows, network.device)
        guesses, log_prob, _ = network.evaluate_actions(inputs, actions)
        known = ~worth.isnan()
        error = (guesses[:, 0] - worth)[known].square().sum() / max(1, int(known.sum()))
        loss = config.value_weight * error - log_prob.mean()
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"imitation diverged at step {step}: the loss is {loss.item()}. Lower its "
                "learning rate."
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        on_step(step + 1)
    network.set_training_mode(False)
    mean_return = float(episode_returns(store)[episodes["train"]].mean())
    there = sum(len(store.episode(int(index)).actions) for index in episodes["train"])
    return Imitation(
        len(episodes["train"]),
        len(taught),
        mean_return,
        *_score(network, asked),
        left_out=min(config.frames, there) - len(taught),
    )


def frames_that_fit(space: spaces.Space[Any], frames: int, gigabytes: float) -> int:
    """How many of ``frames`` inputs of a network fit into memory; at least one.

    Args:
        space: of the inputs, which are kept as :class:`Recorded` keeps them.
        frames: wanted.
        gigabytes: of memory.

    Raises:
        DataError: if there is no memory at all.
    """
    if not gigabytes > 0:
        raise DataError(f"gigabytes={gigabytes}: expected memory for the frames, above 0.")
    room = _room(space, 1)
    parts = room.values() if isinstance(room, dict) else (room,)
    each = sum(part.numel() * part.element_size() for part in parts)
    return max(1, int(min(frames, gigabytes * 1e9 / each)))


def discounted_returns(store: EpisodeStore, gamma: float, state: str, weight: float) -> np.ndarray:
    """What came of the action at each row of a data set: the rewards from there on, discounted.

    Args:
        store: recorded episodes.
        gamma: discount of a step.
        state: name of a recorded state, such as ``health``, whose changes count as rewards too.
        weight: reward for one unit of it; 0 for none.

    Returns:
        float32 (rows,); NaN in episodes that did not end by themselves, as what would have come is
        not known, and at rows without an action.
    """
    result = np.full(store.num_frames, np.nan, np.float32)
    column = list(store.state_names).index(state) if weight and state in store.state_names else None
    for index in range(store.num_episodes):
        episode = store.episode(index)
        if not (len(episode.terminated) and episode.terminated[-1]):
            continue
        rewards = np.asarray(episode.rewards, np.float64).copy()
        if column is not None:
            changes = np.diff(episode.state[:, column].astype(np.float64))
            rewards[: len(changes)] += weight * changes[: len(rewards)]
        total, start = 0.0, int(store.offsets[index])
        for step in range(len(rewards) - 1, -1, -1):
            total = float(rewards[step]) + gamma * total
            result[start + step] = total
    return result


def episode_returns(store: EpisodeStore) -> np.ndarray:
    """float64 (E,): the sum of rewards of every episode."""
    # The action at a row without a next frame still earned its reward.
    rewards = np.nan_to_num(np.asarray(store.rewards, np.float64))
    return np.add.reduceat(rewards, store.offsets[:-1])


def best_episodes(
    store: EpisodeStore, split: str, share: float, players: Sequence[str] = ("*",)
) -> np.ndarray:
    """The episodes of a split with the highest returns, the best one first.

    Args:
        store: recorded episodes.
        split: ``train`` or ``validation``.
        share: of its episodes, in (0, 1]; at least one.
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
    return episodes[order[: max(1, round(share * len(episodes)))]]


def watch(
    observer: Observer,
    store: EpisodeStore,
    episodes: np.ndarray,
    values: np.ndarray,
    frames: int,
    rng: np.random.Generator,
) -> Recorded:
    """Shows recorded episodes to an observer, and keeps what it saw of some of their frames.

    Args:
        observer: sees every frame, one after the other.
        store: recorded episodes.
        episodes: int64 (E,), which of them.
        values: float32 (rows,), see :func:`imitate`.
        frames: at most so many are kept.
        rng: draws them.

    Raises:
        DataError: if the actions are not Discrete, or there is nothing to keep.
    """
    if not isinstance(store.action_spec.space, spaces.Discrete):
        raise DataError(
            f"only policies of Discrete actions imitate so far, not of {store.action_spec.space}."
        )
    taken = {int(e): len(store.episode(int(e)).actions) for e in episodes}
    rows = np.concatenate([int(store.offsets[e]) + np.arange(n) for e, n in taken.items()])
    if len(rows) == 0 or frames < 1:
        raise DataError(f"{frames} frames of {len(episodes)} episodes: nothing to learn from.")
    rows = rng.permutation(rows)[:frames]
    wanted = np.zeros(store.num_frames, np.bool_)
    wanted[rows] = True
    kept = Recorded(
        inputs=_room(observer.space, len(rows)),
        actions=torch.zeros(len(rows), dtype=torch.int64),
        values=torch.zeros(len(rows)),
    )
    filled = 0
    # Of similar length side by side, so that few of them idle.
    by_length = sorted((e for e, n in taken.items() if n), key=lambda e: taken[e])
    for first in range(0, len(by_length), LANES):
        chosen = by_length[first : first + LANES]
        lanes = [store.episode(e) for e in chosen]
        start = store.offsets[chosen]
        state = observer.begin(len(lanes))
        produced = np.full((len(lanes), 1), np.nan, np.float32)
        for step in range(max(taken[e] for e in chosen)):
            at = [min(step, len(lane.actions) - 1) for lane in lanes]
            shown = np.stack([lane.frames[i] for lane, i in zip(lanes, at, strict=True)])
            inputs = observer.see(state, shown, produced)
            produced = np.stack([lane.actions[i] for lane, i in zip(lanes, at, strict=True)])
            alive = np.array([step < len(lane.actions) for lane in lanes])
            alive[alive] = wanted[start[alive] + step]
            place = slice(filled, filled + int(alive.sum()))
            filled = place.stop
            _put(kept.inputs, place, inputs, torch.from_numpy(alive))
            kept.actions[place] = torch.from_numpy(produced[alive, 0].astype(np.int64))
            kept.values[place] = torch.from_numpy(values[start[alive] + step])
    return kept


@torch.no_grad()
def _score(network: ActorCriticPolicy, recorded: Recorded) -> tuple[float, float]:
    """Cross entropy and accuracy over all of ``recorded``."""
    losses, hits = [], []
    for rows in torch.arange(len(recorded)).split(1024):
        inputs, actions, _ = recorded.take(rows, network.device)
        distribution = network.get_distribution(inputs)
        losses.append(-distribution.log_prob(actions))
        hits.append(distribution.get_actions(deterministic=True) == actions)
    return float(torch.cat(losses).mean()), float(torch.cat(hits).float().mean())


def _room(space: spaces.Space[Any], count: int) -> Inputs:
    """Zeros for ``count`` inputs of a space; floats in fp16, to hold many of them."""
    if isinstance(space, spaces.Dict):
        return {name: _box_room(part, count) for name, part in space.spaces.items()}
    return _box_room(space, count)


def _box_room(space: spaces.Space[Any], count: int) -> Tensor:
    assert isinstance(space, spaces.Box)
    kind = torch.uint8 if space.dtype == np.uint8 else torch.float16
    return torch.zeros(count, *space.shape, dtype=kind)


def _put(kept: Inputs, place: slice, inputs: Inputs, rows: Tensor) -> None:
    if isinstance(kept, dict):
        assert isinstance(inputs, dict)
        for name, part in kept.items():
            part[place] = inputs[name].cpu()[rows].to(part.dtype)
    else:
        assert isinstance(inputs, Tensor)
        kept[place] = inputs.cpu()[rows].to(kept.dtype)


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
