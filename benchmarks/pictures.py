"""Pictures to look at: what really happened, what was imagined, and the difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.clips import Clips
from world_model.storage import atomic_file
from world_model.video import write_video

SCALE, GAP, MARGIN, HEADER = 2, 4, 96, 28
INK, FAINT, PAPER = (240, 240, 245), (150, 155, 170), (18, 20, 28)
ROWS = ("real", "imagined", "difference")


def write_strip(path: Path, clips: Clips, imagined: np.ndarray, count: int = 4) -> None:
    """A PNG of ``count`` clips, chosen where most happened, each in three rows.

    Raises:
        StorageError: if the file cannot be written.
    """
    steps = sorted({h for h in (1, 2, 4, 8, 12, 16, clips.horizon) if h <= clips.horizon})
    height, width = (side * SCALE for side in clips.frames.shape[2:4])
    chosen = eventful(clips, count)
    block = 3 * (height + GAP) + 3 * GAP
    size = (MARGIN + (len(steps) + 1) * (width + GAP), HEADER + len(chosen) * block)
    canvas = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text((MARGIN, 6), "last given frame", FAINT, font)
    for column, h in enumerate(steps):
        draw.text((MARGIN + (column + 1) * (width + GAP), 6), f"step {h}", INK, font)
    for place, i in enumerate(chosen):
        top = HEADER + place * block
        given = _large(clips.last_seen[i, 0])
        for row, name in enumerate(ROWS):
            y = top + row * (height + GAP)
            draw.text((8, y + height // 2 - 8), name, INK if row < 2 else FAINT, font)
            if row == 0:
                canvas.paste(given, (MARGIN, y))
            for column, h in enumerate(steps):
                real, dream = clips.frames[i, h - 1], imagined[i, h - 1]
                shown = (real, dream, difference(real, dream))[row]
                canvas.paste(_large(shown), (MARGIN + (column + 1) * (width + GAP), y))
    with atomic_file(path) as temporary:
        canvas.save(temporary)


def write_comparison(path: Path, clips: Clips, imagined: np.ndarray, fps: float) -> None:
    """A film of the rollout that lasts longest: real, imagined and difference side by side.

    Raises:
        StorageError: if the file cannot be written.
    """
    i = int(np.argmax(clips.known.sum(1)))
    height, width = (side * 2 * SCALE for side in clips.frames.shape[2:4])
    size = (3 * width + 4 * GAP, height + HEADER + GAP)
    font = ImageFont.load_default(14)
    shots = []
    for h in range(int(clips.known[i].sum())):
        # yuv420p halves the colours' resolution: both sides must be even.
        canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAPER)
        draw = ImageDraw.Draw(canvas)
        real, dream = clips.frames[i, h], imagined[i, h]
        for column, shown in enumerate((real, dream, difference(real, dream))):
            x = GAP + column * (width + GAP)
            title = f"{ROWS[column]}, step {h + 1}" if column == 1 else ROWS[column]
            draw.text((x, 6), title, INK, font)
            canvas.paste(_large(shown, 2 * SCALE), (x, HEADER))
        shots.append(np.asarray(canvas))
    write_video(path, np.stack(shots), fps, scale=1)


def difference(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Imagined minus real around middle grey, doubled: uint8, as the frames."""
    gap = imagined.astype(np.int16) - real.astype(np.int16)
    return np.clip(128 + 2 * gap, 0, 255).astype(np.uint8)


def eventful(clips: Clips, count: int) -> list[int]:
    """Clips in which every frame is known and most changes, no two of one episode."""
    whole = clips.known.all(1)
    moved = np.abs(np.diff(clips.frames.astype(np.int16), axis=1)).mean((1, 2, 3, 4))
    order = np.argsort(-np.where(whole, moved, -1), kind="stable")
    chosen: list[int] = []
    for i in order.tolist():
        if clips.episodes[i] not in clips.episodes[chosen]:
            chosen.append(i)
    # Not only the wildest: spread over the livelier half.
    lively = chosen[: max(count, len(chosen) // 2)]
    return lively[:: max(1, len(lively) // count)][:count]


def _large(frame: np.ndarray, scale: int = SCALE) -> Image.Image:
    picture = Image.fromarray(frame)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
