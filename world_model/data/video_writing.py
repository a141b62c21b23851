"""Frames of a shard as H.264, in which every frame is quick to reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

CODEC = "h264"
PIXEL_FORMAT = "yuv420p"
KEYFRAME_EVERY = 16
# Chosen once for all machines, since the number of threads decides the bits of the video.
THREADS = 4
# crf 18 looks like the original; slower presets give files 10 % smaller at half the speed. With
# mbtree, x264 encodes frames of a single colour now this way, now that way.
OPTIONS = {"crf": "18", "preset": "veryfast", "sc_threshold": "0", "x264-params": "mbtree=0"}


class VideoEncoder:
    """Takes the frames of one mp4; made by :func:`encoding`."""

    def __init__(self, container: Any, frame_shape: tuple[int, int, int], fps: float) -> None:
        from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc, VideoReformatter

        self._container = container
        self._rate = video_rate(fps)
        self._stream = container.add_stream("libx264", rate=self._rate, options=OPTIONS)
        self._stream.height, self._stream.width, _ = frame_shape
        self._stream.pix_fmt = PIXEL_FORMAT
        codec = self._stream.codec_context
        codec.time_base = 1 / self._rate
        codec.gop_size, codec.thread_count = KEYFRAME_EVERY, THREADS
        # Players guess the colours of large videos otherwise than those of small ones.
        codec.colorspace, codec.color_range = _SMPTE170M, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.SMPTE170M, ColorTrc.SMPTE170M
        self._reformatter = VideoReformatter()
        self._frames = 0

    def add(self, frames: np.ndarray) -> None:
        """Encodes uint8 (n, H, W, 3)."""
        import av
        from av.video.reformatter import Colorspace

        for array in frames:
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame = self._reformatter.reformat(
                rgb,
                format=PIXEL_FORMAT,
                dst_colorspace=Colorspace.ITU601,
                interpolation=exact_conversion("AREA"),
                threads=1,
            )
            frame.pts, frame.time_base = self._frames, 1 / self._rate
            self._container.mux(self._stream.encode(frame))
            self._frames += 1

    def finish(self) -> None:
        """Encodes what was held back."""
        self._container.mux(self._stream.encode())


@contextmanager
def encoding(path: Path, frame_shape: tuple[int, int, int], fps: float) -> Iterator[VideoEncoder]:
    """Opens an mp4 for writing; it is whole when the block has ended without an error.

    Frame i is shown from i / fps on. One in 16 is a keyframe.

    Args:
        path: the file.
        frame_shape: even height, even width, and 3.
        fps: frames per second.

    Raises:
        OSError: if the file cannot be written.
    """
    import av

    with av.open(str(path), "w") as container:
        encoder = VideoEncoder(container, frame_shape, fps)
        yield encoder
        encoder.finish()


def video_rate(fps: float) -> Fraction:
    """Frames per second as mp4 has them: 30000/1001 for 29.97, 35/4 for 8.75."""
    return Fraction(fps).limit_denominator(1001)


def exact_conversion(filter_name: str) -> Any:
    """Flags of swscale: the same bits on every processor, and colour for each pixel."""
    from av.video.reformatter import Interpolation as Flag

    return Flag[filter_name] | Flag.ACCURATE_RND | Flag.BITEXACT | Flag.FULL_CHR_H_INT


def video_features(frame_shape: tuple[int, int, int], fps: float) -> dict[str, Any]:
    """What LeRobot notes about the videos of a data set."""
    height, width, channels = frame_shape
    return {
        "video.height": height,
        "video.width": width,
        "video.codec": CODEC,
        "video.pix_fmt": PIXEL_FORMAT,
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": channels,
        "has_audio": False,
    }


_SMPTE170M = 6  # AVCOL_SPC_SMPTE170M, BT.601; PyAV has no name for the codec's own numbers
