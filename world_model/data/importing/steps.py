"""Steps of a recording, and the episodes of bounded length that they are cut into."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from world_model.data.metadata import PREVIOUS_ACTION, DatasetInfo
from world_model.data.streams import EpisodeStream, LiveEpisode


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
    """Whether the task was over with that action, rather than the recording stopped."""
    state: np.ndarray | None = None
    """float32 (S,), where the data set has states."""
    labels: np.ndarray | None = None
    """uint8 (H, W), where the data set has labels."""


def cut_episodes(
    steps: Iterable[Step],
    info: DatasetInfo,
    max_steps: int,
    origin: Mapping[str, str],
    *,
    own: bool = False,
) -> Iterator[LiveEpisode]:
    """Cuts a recording into episodes of at most ``max_steps`` transitions, never held as a whole.

    The frames of each must be read before the next is asked for; of one that was not, the rest is
    skipped. Neighbouring episodes share a frame (the last of one is the first of the next), so
    that no transition is lost. A step without an action ends its episode. Every episode but one
    with ``terminated`` ends truncated. Pieces without a transition are left out.

    Args:
        steps: the steps, in order.
        info: description of the data set.
        max_steps: most transitions of an episode.
        origin: where the recording came from, for the info of its episodes, which also tells
            ``first_frame`` (its number in the recording) and, where the episode goes on from an
            earlier one, ``previous_action``: the recorded action that led to that frame.
        own: whether ``origin`` is all that an episode that begins where the recording does needs.
    """
    rest = iter(steps)
    first, previous = next(rest, None), None
    while first is not None:
        # Without an action, or a frame that shows what it did, there is no transition.
        begins = first.action is not None
        second = next(rest, None) if begins and not first.ends else None
        if not begins or (second is None and not first.ends):
            first, previous = next(rest, None), None
            continue
        begun = rest if second is None else chain([second], rest)
        piece = _Piece(begun, info, max_steps, first, previous)
        frames = piece.frames()
        yield LiveEpisode(frames, partial(piece.numbers, origin, own))
        for _ in frames:
            pass
        previous = piece.taken[-1] if piece.shared is not None else None
        first = piece.shared or next(rest, None)


class _Piece:
    """An episode under construction."""

    def __init__(
        self,
        rest: Iterator[Step],
        info: DatasetInfo,
        max_steps: int,
        first: Step,
        previous: np.ndarray | None,
    ) -> None:
        self.rest, self.first, self.previous = rest, first, previous
        self.max_steps, self.info = max_steps, info
        self.length = 0
        # In buffers that grow: small arrays that stay would each keep the memory of the frame
        # beside which they were allocated from being used again.
        self.actions, self.rewards, self.state = array("f"), array("f"), array("f")
        self.labels: list[np.ndarray] = []
        self.terminated = False
        self.shared: Step | None = None
        """The last step, where it is the first of the next piece too."""

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, one by one; what belongs to them is noted as they go by."""
        step: Step | None = self.first
        while step is not None:
            self.length += 1
            yield step.frame[None]
            if step.state is not None:
                self.state.extend(step.state.tolist())
            if step.labels is not None:
                self.labels.append(step.labels)
            if self.length == self.max_steps + 1:
                self.shared = step
                return
            if step.action is None:
                return
            self.actions.extend(step.action.tolist())
            self.rewards.append(step.reward)
            self.terminated = step.terminated
            if step.ends:
                return
            step = next(self.rest, None)
        # No frame shows what the last one did.
        del self.actions[-self.info.action_spec.dim :]
        self.rewards.pop()

    @property
    def taken(self) -> np.ndarray:
        """float32 (A, K), the actions so far."""
        return np.array(self.actions, np.float32).reshape(-1, self.info.action_spec.dim)

    def numbers(self, origin: Mapping[str, str], own: bool) -> EpisodeStream:
        """All but the frames, once these have gone by."""
        ends = np.arange(len(self.rewards)) == len(self.rewards) - 1
        about = dict(origin)
        if self.first.index or not own:
            about["first_frame"] = str(self.first.index)
        if self.previous is not None:
            about[PREVIOUS_ACTION] = json.dumps(self.previous.tolist())
        return EpisodeStream(
            frames=(),
            num_frames=self.length,
            actions=self.taken,
            rewards=np.array(self.rewards, np.float32),
            terminated=ends & self.terminated,
            truncated=ends & (not self.terminated),
            state=np.array(self.state, np.float32).reshape(self.length, -1)
            if self.info.state_names
            else np.zeros((self.length, 0), np.float32),
            labels=np.stack(self.labels) if self.labels else None,
            info=about,
        )
