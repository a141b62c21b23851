"""Writes videos with PyAV: H.264, playable everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from world_model.provenance import Provenance, video_tags
from world_model.storage import atomic_file


def write_video(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    *,
    scale: int = 4,
    provenance: Provenance | None = None,
) -> Path:
    """Writes frames as an mp4, enlarged without smoothing so that pixels stay visible.

    Args:
        path: the file.
        frames: uint8 (T, H, W, 3).
        fps: frames per second.
        scale: each pixel becomes a square of this side.
        provenance: what the file says about where it comes from, if frames were generated.

    Returns:
        The path.

    Raises:
        ValueError: if the frames are not uint8 (T, H, W, 3) or there are none.
        StorageError: if the disk is full.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"expected uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}.")
    with recording(path, fps, scale=scale, provenance=provenance) as film:
        for frame in frames:
            film.add(frame)
    return Path(path)


class Film:
    """An mp4 under way, to which frames are added one by one; made by :func:`recording`."""

    def __init__(self, container: Any, fps: float, scale: int) -> None:
        self._container, self._fps, self._scale = container, fps, scale
        self._stream: Any = None
        self.frames = 0
        """How many there are so far."""

    def add(self, frame: np.ndarray) -> None:
        """Adds uint8 (H, W, 3), of the size of the first one."""
        import av

        big = frame.repeat(self._scale, axis=0).repeat(self._scale, axis=1)
        height, width = big.shape[:2]
        big = np.pad(big, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            rate = Fraction(self._fps).limit_denominator(1000)
            self._stream = self._container.add_stream("libx264", rate=rate)
            # yuv420p needs even sides
            self._stream.height, self._stream.width = big.shape[:2]
            self._stream.pix_fmt, self._stream.options = "yuv420p", {"crf": "14"}
        picture = av.VideoFrame.from_ndarray(big, format="rgb24")
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def finish(self) -> None:
        """Encodes what was held back.

        Raises:
            ValueError: if there is no frame.
        """
        if self._stream is None:
            raise ValueError("a film needs at least one frame.")
        self._container.mux(self._stream.encode())


@contextmanager
def recording(
    path: str | Path, fps: float, *, scale: int = 4, provenance: Provenance | None = None
) -> Iterator[Film]:
    """Opens an mp4 for as many frames as come; it is whole when the block ends without an error.

    Memory does not grow with its length. Browsers play it while it still loads.

    Args:
        path: the file.
        fps: frames per second.
        scale: each pixel becomes a square of this side.
        provenance: as for :func:`write_video`.

    Raises:
        ValueError: if no frame was added.
        StorageError: if the disk is full.
    """
    import av

    options = {"movflags": "faststart"}  # the table of contents in front
    with (
        atomic_file(path) as temporary,
        av.open(str(temporary), "w", options=options) as container,
    ):
        if provenance is not None:
            container.metadata.update(video_tags(provenance))
        film = Film(container, fps, scale)
        yield film
        film.finish()
