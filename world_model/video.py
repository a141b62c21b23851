"""Writes videos with PyAV: H.264, playable everywhere."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

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
    import av

    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"expected uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}.")
    height, width = (size * scale for size in frames.shape[1:3])
    with atomic_file(path) as temporary, av.open(str(temporary), "w") as container:
        if provenance is not None:
            container.metadata.update(video_tags(provenance))
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        # yuv420p needs even sides
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "14"}
        for frame in frames:
            big = frame.repeat(scale, axis=0).repeat(scale, axis=1)
            big = np.pad(big, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(big, format="rgb24")))
        container.mux(stream.encode())
    return Path(path)
