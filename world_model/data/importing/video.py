"""Videos frame by frame, from files that may be cut short, damaged or made to deceive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from world_model.data.importing.recordings import RecordingError

DEMUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".mkv": "matroska", ".webm": "matroska",
            ".avi": "avi"}  # fmt: skip
"""How to take a file apart. By its name alone: FFmpeg would go by the content, and a playlist that
calls itself x.mp4 would make it open other files."""
MOST_PIXELS = 4096 * 4096
UNREADABLE = "the video cannot be opened"
DAMAGED = "the video is damaged"


class VideoDamaged(RecordingError):
    """The video cannot be decoded any further."""

    def __init__(self, frame: int, why: object) -> None:
        super().__init__(DAMAGED, f"from frame {frame} on ({why})")


class Video:
    """A video that is open, see :func:`open_video`."""

    def __init__(self, container: Any, declared: int) -> None:
        self._container = container
        self._stream = container.streams.video[0]
        self.declared = declared
        """Number of frames by the container's own account."""

    def frames(self, start: float = 0.0) -> Iterator[np.ndarray]:
        """The frames in the order of display, each uint8 (H, W, 3) at the video's size.

        Args:
            start: second from which on they are wanted.

        Raises:
            VideoDamaged: where decoding fails. The frame before may be spoilt already and is left
                out; those after damage are not to be trusted, nor is their number.
        """
        import av

        index = -1
        held: np.ndarray | None = None
        rate = self._stream.average_rate
        begin = start - (0.5 / float(rate) if rate else 1e-4)  # times are rounded
        try:
            if start > 0:
                self._container.seek(int(begin / self._stream.time_base), stream=self._stream)
            for frame in self._container.decode(self._stream):
                if start > 0 and (frame.time is None or frame.time < begin):
                    continue  # between the keyframe and the frame that was asked for
                if frame.is_corrupt:
                    raise VideoDamaged(max(index, 0), "a frame is corrupt")
                if held is not None:
                    yield held
                held = frame.to_ndarray(format="rgb24")
                index += 1
        except (av.FFmpegError, ValueError, OSError, MemoryError) as error:
            if isinstance(error, RecordingError):
                raise
            raise VideoDamaged(max(index, 0), error) from error
        if held is not None:
            yield held


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Opens a video file.

    Raises:
        RecordingError: if it is none, or its frames are too large.
    """
    import av

    if path.suffix.lower() not in DEMUXERS:
        raise RecordingError(UNREADABLE, f"unknown kind {path.suffix!r}")
    try:
        container = _open(path)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise RecordingError(UNREADABLE, str(error)) from error
    with container:
        if not container.streams.video:
            raise RecordingError(UNREADABLE, "it has no pictures")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None or not 0 < context.width * context.height <= MOST_PIXELS:
            raise RecordingError(UNREADABLE, "no usable size of its pictures")
        # Threads would make what comes out of damaged data a matter of luck.
        context.thread_type, context.thread_count = "NONE", 1
        context.options = {"err_detect": "explode"}
        yield Video(container, stream.frames or _count_packets(path))


def _count_packets(path: Path) -> int:
    """Frames in a file whose header does not say, as far as it can be read; decodes nothing."""
    import av

    count = 0
    with suppress(av.FFmpegError, ValueError, OSError), _open(path) as container:
        for packet in container.demux(video=0):
            count += packet.size > 0
    return count


def _open(path: Path) -> Any:
    import av

    options = {"protocol_whitelist": "file"}
    return av.open(str(path.resolve()), format=DEMUXERS[path.suffix.lower()], options=options)
