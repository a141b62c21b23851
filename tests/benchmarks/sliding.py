"""A game whose future is known: a bright ball slides along a wall with bricks.

The ball moves two pixels left or right, or stays. Where it comes to place 3 there is a reward of 1;
the episode terminates when it is pushed against the right edge. Rollouts imagine it perfectly, or
with one fault each: a metric must see its fault.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from tests.toy import ToyConfig
from world_model.action_spec import ActionSpec
from world_model.contexts import ContextSet
from world_model.data import write_dataset
from world_model.data.metadata import DatasetInfo
from world_model.types import Context, Episode, StepOutcome

SIDE, BALL, TOP, PLACES = 16, 3, 7, 7
PRIZE = 3
SHAPE = (SIDE, SIDE, 3)
SPEC = ActionSpec.from_space(spaces.Discrete(3), names=["stay", "right", "left"])
MOVES = torch.tensor([0, 1, -1])
MEMORY = torch.tensor([0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1])
"""The places of the one future that a world with the fault "memorised" knows."""
INFO = DatasetInfo(
    action_spec=SPEC,
    frame_shape=SHAPE,
    fps=10.0,
    label_classes={0: "background", 1: "ball"},
    state_names=("place",),
    source={"preset": "sliding"},
)


def draw(places: np.ndarray, ball: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (N, 16, 16, 3) and labels uint8 (N, 16, 16)."""
    frames = np.full((len(places), *SHAPE), 60, np.uint8)
    frames[:, ::4, :, 0] = 110  # bricks
    frames[:, :, ::5, 1] = 80
    labels = np.zeros((len(places), SIDE, SIDE), np.uint8)
    for i, place in enumerate(places.tolist()):
        box = (slice(TOP, TOP + BALL), slice(2 * place, 2 * place + BALL))
        if ball:
            frames[i][box] = (250, 240, 90)
        labels[i][box] = 1
    return frames, labels


def read(frames: np.ndarray) -> np.ndarray:
    """Places of the ball, int64 (N,)."""
    return (frames[:, TOP + 1, :, 0] > 200).argmax(1) // 2


def record(count: int, length: int = 24, seed: int = 0) -> list[Episode]:
    """Episodes under random actions, of at most ``length`` steps."""
    episodes = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        place, places, actions, ended = int(rng.integers(PLACES - 1)), [], [], False
        rewards: list[float] = []
        while not ended and len(actions) < length:
            places.append(place)
            action = int(rng.choice(3, p=[0.3, 0.42, 0.28]))  # drifts towards the edge
            actions.append(action)
            ended = place == PLACES - 1 and action == 1
            before, place = place, int(np.clip(place + int(MOVES[action]), 0, PLACES - 1))
            rewards.append(float(place == PRIZE and before != PRIZE))
        frames, labels = draw(np.array(places))
        flags = np.zeros((2, len(actions)), bool)
        flags[0 if ended else 1, -1] = True
        episodes.append(
            Episode(
                frames=frames,
                actions=np.array(actions, np.float32)[:, None],
                rewards=np.array(rewards, np.float32),
                terminated=flags[0],
                truncated=flags[1],
                state=np.array(places, np.float32)[:, None],
                labels=labels,
                info={"policy": "random", "seed": str(i)},
            )
        )
    return episodes


def make_dataset(root: Path, count: int = 150) -> Path:
    """A data set with some validation episodes."""
    return write_dataset(root, record(count), INFO)


@dataclass(frozen=True)
class State:
    """Place of the ball now and before, reward now, and steps since the start, per stream."""

    seeds: torch.Tensor
    place: torch.Tensor
    reward: torch.Tensor
    steps: torch.Tensor

    @property
    def batch_size(self) -> int:
        return len(self.seeds)

    def _map(self, function: Any) -> State:
        return State(*(function(t) for t in (self.seeds, self.place, self.reward, self.steps)))

    def clone(self) -> State:
        return self._map(torch.Tensor.clone)

    def select(self, indices: torch.Tensor) -> State:
        return self._map(lambda tensor: tensor[indices])

    def scatter(self, indices: torch.Tensor, other: State) -> State:
        for field in fields(self):
            getattr(self, field.name)[indices] = getattr(other, field.name)
        return self

    def to(self, device: Any) -> State:
        return self._map(lambda tensor: tensor.to(device))


def earned(before: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """1 where the ball comes to the prize, else 0."""
    return ((place == PRIZE) & (before != PRIZE)).float()


class SlidingOutcome(torch.nn.Module):
    """Reads rewards and ends off the frames; wrong only where the world's fault is one of these.

    The memory is (place, reward, reward before), with place -1 before the first frame.
    """

    def __init__(self, world: SlidingWorld) -> None:
        super().__init__()
        self.world_of = (world,)  # in a tuple: no module
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("termination_threshold", torch.zeros(()))
        self.register_buffer("reward_support", torch.tensor([0.0, 1.0]))

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Colours in [0, 1] of squares of 4x4 pixels, float32 (B, 48)."""
        pixels = frames.permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.avg_pool2d(pixels, 4).flatten(1)

    def initial_memory(self, batch: int, device: Any = None) -> torch.Tensor:
        return torch.tensor([[-1.0, 0.0, 0.0]]).repeat(batch, 1)

    def observe(
        self, memory: torch.Tensor, frames: torch.Tensor, actions: torch.Tensor
    ) -> torch.Tensor:
        place = torch.from_numpy(read(frames.numpy())).float()
        reward = earned(memory[:, 0], place) * (memory[:, 0] >= 0)
        return torch.stack([place, reward, memory[:, 1]], dim=1)

    def reward(self, memory: torch.Tensor) -> torch.Tensor:
        return memory[:, 2 if self.world_of[0].fault == "shifted" else 1]

    def termination_logits(self, memory: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return self.world_of[0].chance_of_the_end(memory[:, 0], actions).logit(eps=1e-9)

    def forward_sequence(
        self, frames: torch.Tensor, actions: torch.Tensor, _: Any, memory: Any = None
    ) -> Any:
        memory = self.initial_memory(len(frames)) if memory is None else memory
        for t in range(frames.shape[1]):
            memory = self.observe(memory, frames[:, t], actions[:, t])
        return SimpleNamespace(memory=memory)


class SlidingWorld:
    """The game imagined, with a fault: none, or one of these.

    frozen: no frame differs from the last; deaf: the ball moves right whatever is done; blind: no
    ball; random: a coin decides its way; fading: darker with every step; drifting: redder, less
    blue; memorised: one future, from any context; shifted: rewards come a step late; endless:
    nothing ever ends; generous: standing at the left edge, which earns nothing, pays 1 a step;
    unseeded: from the twentieth step on dice that no seed throws decide the ball's way.

    Args:
        fault: one of these.
        hazard: a probability that any step ends the episode, instead of the right one.
        eye: whether there is an outcome model that can look at real frames.
        unsure: whether it says how often a coin has decided the ball's way: rightly so, as by then
            it may be anywhere.
    """

    def __init__(
        self,
        fault: str = "none",
        hazard: float | None = None,
        eye: bool = False,
        unsure: bool = False,
    ) -> None:
        self.fault, self.hazard, self.unsure = fault, hazard, unsure
        self.config = ToyConfig(
            name="sliding", frame_shape=SHAPE, context_length=2, source={"preset": "sliding"}
        )
        self.action_spec = SPEC
        self.model_id = f"sliding-{fault}@1#000000000000"
        self.tokenizer = self.network = None
        self.outcome = SlidingOutcome(self) if eye else None
        frames, _ = draw(np.arange(5))
        actions = np.full((5, 2, 1), np.nan, np.float32)
        actions[:, 1] = 0
        self.contexts = ContextSet(np.stack([frames, frames], axis=1), actions)

    def make_rollout(self, **settings: Any) -> SlidingRollout:
        return SlidingRollout(self)

    def chance_of_the_end(self, place: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        ends = ((place == PLACES - 1) & (MOVES[actions[:, 0].long()] == 1)).float()
        if self.hazard is not None:
            return torch.full_like(ends, self.hazard)
        return torch.zeros_like(ends) if self.fault == "endless" else ends


class SlidingRollout:
    """Imagines a :class:`SlidingWorld`."""

    device = torch.device("cpu")

    def __init__(self, world: SlidingWorld) -> None:
        self.world, self.dice = world, np.random.default_rng()

    def begin(self, contexts: Context, seeds: torch.Tensor) -> State:
        place = torch.from_numpy(read(contexts.frames[:, -1].numpy()))
        before = torch.from_numpy(read(contexts.frames[:, -2].numpy()))
        return State(seeds.clone(), place, earned(before, place), torch.zeros_like(place))

    def advance(self, state: State, actions: torch.Tensor) -> tuple[State, StepOutcome]:
        fault = self.world.fault
        move = MOVES[actions[:, 0].long()]
        hazard = self.world.chance_of_the_end(state.place, actions)
        if fault == "random":
            # A fair coin decides whether the ball moves right or left.
            mixed = (state.seeds + 1) * 0x9E3779B1 + state.steps * 0x85EBCA77
            move = (((mixed ^ (mixed >> 15)) * 0x2C1B3C6D >> 20) & 1) * 2 - 1
        if fault in ("frozen", "deaf"):
            move = torch.full_like(move, int(fault == "deaf"))
        if fault == "unseeded":
            thrown = torch.from_numpy(self.dice.integers(2, size=len(move)) * 2 - 1)
            move = torch.where(state.steps >= 20, thrown, move)
        place = (state.place + move).clamp(0, PLACES - 1)
        if fault == "memorised":
            place = MEMORY[state.steps % len(MEMORY)]
        frames, _ = draw(place.numpy(), ball=fault != "blind")
        if fault == "fading":
            frames = (frames * (0.98 ** state.steps.numpy())[:, None, None, None]).astype(np.uint8)
        if fault == "drifting":
            drift = state.steps.numpy()[:, None, None, None] * np.array([3, 0, -3])
            frames = np.clip(frames + drift, 0, 255).astype(np.uint8)
        reward = earned(state.place, place)
        zeros = torch.zeros(len(place))
        if fault == "generous":
            reward = reward + ((state.place == 0) & (place == 0)).float()
        outcome = StepOutcome(
            torch.from_numpy(frames),
            zeros[:, None, None],
            state.reward if fault == "shifted" else reward,
            hazard > 0.5,
            hazard,
            (state.steps + 1.0) * self.world.unsure,
        )
        return replace(state, place=place, reward=reward, steps=state.steps + 1), outcome
