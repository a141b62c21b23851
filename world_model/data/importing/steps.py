"""Steps of a recording, and the episodes of bounded length that they are cut into."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from world_model.data.metadata import DatasetInfo
from world_model.types import Episode

PREVIOUS_ACTION = "previous_action"
"""Entry of an episode's info: the recorded action that led to its first frame, as a JSON list."""


@dataclass(frozen=True)
class Step:
    """A frame, and what was done when it was seen."""

    index: int
    """Number of the frame in the recording."""
    frame: np.ndarray
    """uint8 (H, W, 3), at the size of the data set."""
    action: np.ndarray | None
    """float32 (K,), takes this frame to the next; None: unknown, or there was none."""
    reward: float = 0.0
    """Reward of that action."""
    ends: bool = False
    """Whether that action ended the recording, so that no frame follows."""
    terminated: bool = False
    """With ``ends``: whether the task was over, rather than the recording stopped."""


def cut_episodes(
    steps: Iterable[Step], info: DatasetInfo, max_steps: int, origin: Mapping[str, str]
) -> Iterator[Episode]:
    """Cuts a recording into episodes of at most ``max_steps`` transitions, never held as a whole.

    Neighbouring episodes share a frame (the last of one is the first of the next), so that no
    transition is lost. A step without an action ends its episode. Every episode but one with
    ``terminated`` ends truncated. Pieces without a transition are left out.

    Args:
        steps: the steps, in order.
        info: description of the data set.
        max_steps: most transitions of an episode.
        origin: where the recording came from, for the info of its episodes, which also tells
            ``first_frame`` (its number in the recording) and, where the episode goes on from an
            earlier one, ``previous_action``: the recorded action that led to that frame.
    """
    piece: _Piece | None = None
    for step in steps:
        if piece is None:
            piece = _Piece(info, max_steps, step)
        else:
            piece.add_frame(step.frame)
        if piece.full:
            yield piece.episode(origin)
            piece = _Piece(info, max_steps, step, previous=piece.actions[-1])
        if step.action is not None:
            piece.add_action(step)
        if step.action is None or step.ends:
            if piece.transitions:
                yield piece.episode(origin)
            piece = None
    if piece is not None:
        piece.drop_last_action()  # no frame shows what it did
        if piece.transitions:
            yield piece.episode(origin)


class _Piece:
    """An episode under construction."""

    def __init__(
        self, info: DatasetInfo, max_steps: int, first: Step, previous: np.ndarray | None = None
    ) -> None:
        # Pages that are never written to cost no memory.
        self.frames: np.ndarray = np.empty((max_steps + 1, *info.frame_shape), np.uint8)
        self.frames[0] = first.frame
        self.length = 1
        self.first_index, self.previous = first.index, previous
        self.max_steps, self.dim = max_steps, info.action_spec.dim
        self.states = len(info.state_names)
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []
        self.terminated = False

    @property
    def full(self) -> bool:
        return self.length == self.max_steps + 1

    @property
    def transitions(self) -> int:
        return len(self.actions)

    def add_frame(self, frame: np.ndarray) -> None:
        self.frames[self.length] = frame
        self.length += 1

    def add_action(self, step: Step) -> None:
        assert step.action is not None
        self.actions.append(step.action)
        self.rewards.append(step.reward)
        self.terminated = step.terminated

    def drop_last_action(self) -> None:
        if len(self.actions) == self.length:
            self.actions.pop()
            self.rewards.pop()

    def episode(self, origin: Mapping[str, str]) -> Episode:
        ends = np.arange(len(self.actions)) == len(self.actions) - 1
        about = {**origin, "first_frame": str(self.first_index)}
        if self.previous is not None:
            about[PREVIOUS_ACTION] = json.dumps(self.previous.tolist())
        return Episode(
            frames=self.frames[: self.length],
            actions=np.stack(self.actions),
            rewards=np.asarray(self.rewards, np.float32),
            terminated=ends & self.terminated,
            truncated=ends & (not self.terminated),
            state=np.zeros((self.length, self.states), np.float32),
            info=about,
        )
