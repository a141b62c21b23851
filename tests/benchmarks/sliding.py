"""A game whose future is known: a bright ball slides along a wall with bricks.

The ball moves two pixels left or right, or stays; the episode terminates when it is pushed against
the right edge. Rollouts imagine it perfectly, or with one fault each: a metric must see its fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
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
SHAPE = (SIDE, SIDE, 3)
SPEC = ActionSpec.from_space(spaces.Discrete(3), names=["stay", "right", "left"])
MOVES = torch.tensor([0, 1, -1])
INFO = DatasetInfo(
    action_spec=SPEC,
    frame_shape=SHAPE,
    fps=10.0,
    label_classes={0: "background", 1: "ball"},
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
        while not ended and len(actions) < length:
            places.append(place)
            action = int(rng.choice(3, p=[0.3, 0.42, 0.28]))  # drifts towards the edge
            actions.append(action)
            ended = place == PLACES - 1 and action == 1
            place = int(np.clip(place + int(MOVES[action]), 0, PLACES - 1))
        frames, labels = draw(np.array(places))
        flags = np.zeros((2, len(actions)), bool)
        flags[0 if ended else 1, -1] = True
        episodes.append(
            Episode(
                frames=frames,
                actions=np.array(actions, np.float32)[:, None],
                rewards=np.ones(len(actions), np.float32),
                terminated=flags[0],
                truncated=flags[1],
                state=np.zeros((len(frames), 0), np.float32),
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
    """Place of the ball and steps since the start, per stream."""

    seeds: torch.Tensor
    place: torch.Tensor
    steps: torch.Tensor

    @property
    def batch_size(self) -> int:
        return len(self.seeds)

    def _map(self, function: Any) -> State:
        return State(*(function(t) for t in (self.seeds, self.place, self.steps)))

    def clone(self) -> State:
        return self._map(torch.Tensor.clone)

    def select(self, indices: torch.Tensor) -> State:
        return self._map(lambda tensor: tensor[indices])

    def scatter(self, indices: torch.Tensor, other: State) -> State:
        for mine, theirs in ((self.seeds, other.seeds), (self.place, other.place)):
            mine[indices] = theirs
        return self

    def to(self, device: Any) -> State:
        return self._map(lambda tensor: tensor.to(device))


class SlidingWorld:
    """The game imagined, with a fault: none, frozen, deaf, blind, random or fading."""

    def __init__(self, fault: str = "none", hazard: float | None = None) -> None:
        self.fault, self.hazard = fault, hazard
        self.config = ToyConfig(
            name="sliding", frame_shape=SHAPE, context_length=2, source={"preset": "sliding"}
        )
        self.action_spec = SPEC
        self.model_id = f"sliding-{fault}@1#000000000000"
        self.tokenizer = self.network = self.outcome = None
        frames, _ = draw(np.arange(5))
        actions = np.full((5, 2, 1), np.nan, np.float32)
        actions[:, 1] = 0
        self.contexts = ContextSet(np.stack([frames, frames], axis=1), actions)

    def make_rollout(self, **settings: Any) -> SlidingRollout:
        return SlidingRollout(self)


class SlidingRollout:
    """Imagines a :class:`SlidingWorld`."""

    device = torch.device("cpu")

    def __init__(self, world: SlidingWorld) -> None:
        self.world = world

    def begin(self, contexts: Context, seeds: torch.Tensor) -> State:
        place = torch.from_numpy(read(contexts.frames[:, -1].numpy()))
        return State(seeds.clone(), place, torch.zeros_like(place))

    def advance(self, state: State, actions: torch.Tensor) -> tuple[State, StepOutcome]:
        fault = self.world.fault
        move = MOVES[actions[:, 0].long()]
        hazard = ((state.place == PLACES - 1) & (move == 1)).float()
        if fault == "random":
            # A fair coin decides whether the ball moves right or left.
            move = ((state.seeds >> (7 * state.steps) % 40) & 1) * 2 - 1
        if fault in ("frozen", "deaf"):
            move = torch.full_like(move, int(fault == "deaf"))
        if self.world.hazard is not None:
            hazard = torch.full_like(hazard, self.world.hazard)
        place = (state.place + move).clamp(0, PLACES - 1)
        frames, _ = draw(place.numpy(), ball=fault != "blind")
        if fault == "fading":
            frames = (frames * (0.98 ** state.steps.numpy())[:, None, None, None]).astype(np.uint8)
        zeros = torch.zeros(len(place))
        outcome = StepOutcome(
            torch.from_numpy(frames), zeros[:, None, None], zeros + 1, hazard > 0.5, hazard, zeros
        )
        return replace(state, place=place, steps=state.steps + 1), outcome
