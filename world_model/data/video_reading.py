"""Frames of a shard's mp4 by their number, exactly; whatever is wrong with the file is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from world_model.data.video_writing import KEYFRAME_EVERY, exact_conversion, video_rate
from world_model.errors import DataError
from world_model.storage import file_hash


@dataclass(frozen=True)
class ShardVideo:
    """An mp4 and what its shard says about it."""

    path: Path
    """The file."""
    frame_shape: tuple[int, int, int]
    """Height, width and channels (3)."""
    fps: float
    """Frames per second."""
    rows: int
    """Number of frames."""
    size: int
    """Bytes."""
    sha256: str
    """Hash of the file."""

    def check(self) -> None:
        """Looks at the file without decoding it.

        Raises:
            DataError: if it is missing, truncated, or has other frames than its shard.
        """
        import av

        if not self.path.is_file():
            raise DataError(
                f"{self.path} is missing: {self.rows} frames of "
                f"{self.frame_shape[1]}x{self.frame_shape[0]} pixels were recorded in it. Put it "
                f"back, or {_RECORD_AGAIN}"
            )
        size = self.path.stat().st_size
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise self.damaged("it has no video in it")
                stream = container.streams.video[0]
                found, frames = (stream.height, stream.width), stream.frames
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise self.damaged(
                f"it cannot be opened as a video ({error}); it has {size} bytes, {self.size} were "
                "recorded"
            ) from error
        if found != self.frame_shape[:2]:
            raise self.damaged(
                f"its frames have {found[1]}x{found[0]} pixels, not the "
                f"{self.frame_shape[1]}x{self.frame_shape[0]} of the data set"
            )
        if frames != self.rows:
            raise self.damaged(f"it has {frames} frames, but its shard has {self.rows} rows")
        if size != self.size:
            raise self.damaged(f"it has {size} bytes, {self.size} were recorded")

    def check_content(self) -> None:
        """Reads the whole file; a decoder hides damage in the midst of it.

        Raises:
            DataError: if it is not the file that was recorded.
        """
        found = file_hash(self.path)
        if found != self.sha256:
            raise self.damaged(
                f"its content has changed (SHA-256 {found[:12]}..., recorded {self.sha256[:12]}...)"
            )

    def read(
        self, start: int, stop: int, size: tuple[int, int] | None = None, chunk: int = 32
    ) -> Iterator[np.ndarray]:
        """Decodes the frames ``start`` to ``stop`` (exclusive) in order.

        Args:
            start: number of the first frame.
            stop: one past the number of the last.
            size: height and width to average pixels to (default: as recorded).
            chunk: frames to yield at a time.

        Yields:
            uint8 (n, H, W, 3), n up to ``chunk``.

        Raises:
            DataError: if one of the frames is not there or cannot be decoded.
        """
        height, width = size or self.frame_shape[:2]
        frames = np.empty((chunk, height, width, 3), np.uint8)
        at, filled = start, 0
        for number, array in self._decode(start, (height, width)):
            if number != at:
                raise self.damaged(f"frame {number} follows frame {at - 1}")
            frames[filled] = array
            at, filled = at + 1, filled + 1
            if filled == chunk or at == stop:
                yield frames[:filled]
                frames, filled = np.empty_like(frames), 0
            if at == stop:
                return
        raise self.damaged(f"it ends after {at} of {self.rows} frames")

    def damaged(self, why: str) -> DataError:
        """The error for this file."""
        return DataError(f"{self.path} is damaged: {why}. Delete this file and {_RECORD_AGAIN}")

    def _decode(self, start: int, size: tuple[int, int]) -> Iterator[tuple[int, np.ndarray]]:
        """Frames with their numbers, from a keyframe at or before ``start`` on."""
        import av
        from av.video.reformatter import VideoReformatter

        scaled = size != self.frame_shape[:2]
        settings: dict[str, Any] = {
            "height": size[0],
            "width": size[1],
            "format": "rgb24",
            "interpolation": exact_conversion("AREA" if scaled else "BILINEAR"),
            "threads": 1,
        }
        reformatter, rate = VideoReformatter(), video_rate(self.fps)
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                # Several pieces are decoded side by side: more threads here would fight.
                stream.codec_context.thread_count = 1
                ticks = 1 / (rate * (stream.time_base or Fraction(1, 1000)))  # of one frame
                if start >= KEYFRAME_EVERY:
                    container.seek(round(start * ticks), stream=stream)
                for frame in container.decode(stream):
                    if (frame.height, frame.width) != self.frame_shape[:2]:
                        raise self.damaged(
                            f"a frame has {frame.width}x{frame.height} pixels, not the "
                            f"{self.frame_shape[1]}x{self.frame_shape[0]} of the data set"
                        )
                    number = round((frame.pts or 0) / ticks)
                    if number < start:
                        continue  # between the keyframe and the frame that was asked for
                    yield number, reformatter.reformat(frame, **settings).to_ndarray()
        except (av.FFmpegError, IndexError) as error:
            raise self.damaged(f"it cannot be decoded from frame {start} on ({error})") from error


_RECORD_AGAIN = "run the command that recorded it again; the episodes in it will be recorded anew."
