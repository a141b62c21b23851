"""Episodes whose frames come a few at a time, for recordings that no memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from world_model.errors import DataError, NFDError
from world_model.types import Episode

CHUNK = 64  # frames
Item = TypeVar("Item")


@dataclass(frozen=True)
class EpisodeStream:
    """An :class:`~world_model.types.Episode` of ``N`` frames that are read as they are written.

    The writer takes one wherever it takes an episode. Numbers are small and come whole; frames
    come in chunks, each of which can be forgotten once the next is asked for. With frames stored
    as video, memory does not grow with the length of the episode. An interruption costs the shard
    under way: give a writer of hour-long videos ``shard_episodes=1``. ::

        def chunks():
            for part in decode(video):  # a generator
                yield part  # uint8 (n, H, W, 3)

        writer.append([EpisodeStream(chunks(), 72_000, actions, rewards, ...)])
    """

    frames: Iterable[np.ndarray]
    """Chunks of uint8 (n, H, W, 3), in order, of any lengths; read once."""
    num_frames: int
    """``N``, the number of frames that the chunks have together."""
    actions: np.ndarray
    """float32 (A, K), A = N - 1 or N, see :class:`~world_model.types.Episode`."""
    rewards: np.ndarray
    """float32 (A,)."""
    terminated: np.ndarray
    """bool (A,)."""
    truncated: np.ndarray
    """bool (A,)."""
    state: np.ndarray
    """float32 (N, S)."""
    labels: np.ndarray | None = None
    """uint8 (N, H, W), where the data set has labels."""
    info: dict[str, str] = field(default_factory=dict)
    """Where the episode came from."""

    @classmethod
    def of(cls, episode: Episode | EpisodeStream) -> EpisodeStream:
        """An episode in memory as a stream; a stream as it is."""
        if isinstance(episode, EpisodeStream):
            return episode
        frames = episode.frames
        return cls(
            frames=(frames[i : i + CHUNK] for i in range(0, len(frames), CHUNK)),
            num_frames=len(frames),
            actions=episode.actions,
            rewards=episode.rewards,
            terminated=episode.terminated,
            truncated=episode.truncated,
            state=episode.state,
            labels=episode.labels,
            info=dict(episode.info),
        )

    def checked_frames(self, frame_shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
        """The chunks.

        Raises:
            DataError: if one has other frames, or there are more or fewer than ``num_frames``.
        """
        seen = 0
        for chunk in checked_chunks(self.frames, frame_shape):
            seen += len(chunk)
            if seen > self.num_frames:
                break
            yield chunk
        if seen != self.num_frames:
            found = f"only {seen} came" if seen < self.num_frames else "more came"
            raise DataError(
                f"the episode should have {self.num_frames} frames, but {found}. Cut its actions "
                "to the frames that there are, or the other way round."
            )


@dataclass(frozen=True)
class LiveEpisode:
    """An episode that is still being read: what happened is known once its frames have gone by.

    So a recording of which nobody knows where it ends, or is damaged, is read a single time.
    """

    frames: Iterable[np.ndarray]
    """Chunks of uint8 (n, H, W, 3), in order, of any lengths; read once, and before ``numbers``."""
    numbers: Callable[[], EpisodeStream]
    """The rest of the episode, as a stream without frames; called after the last of them."""


AnyEpisode = Episode | EpisodeStream | LiveEpisode
"""What a writer takes."""


def checked_chunks(
    chunks: Iterable[np.ndarray], frame_shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """The chunks.

    Raises:
        DataError: if one has other frames.
    """
    for chunk in read_along(chunks):
        if chunk.dtype != np.uint8 or chunk.ndim != 4 or chunk.shape[1:] != frame_shape:
            raise DataError(
                f"the episode does not fit the data set: frames {chunk.dtype}{chunk.shape}, "
                f"expected uint8 (N, {', '.join(map(str, frame_shape))})."
            )
        yield chunk


def read_along(items: Iterable[Item]) -> Iterator[Item]:
    """The items, asked for while a file is written: what they cannot read is no full disk.

    Raises:
        DataError: if an item cannot be read.
    """
    try:
        yield from items
    except NFDError:
        raise
    except OSError as error:
        raise DataError(f"an episode could not be read: {error}.") from error
