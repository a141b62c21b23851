"""Pictures to look at: what really happened, what was imagined, and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.clips import Clips
from world_model.provenance import Provenance, image_arguments
from world_model.storage import atomic_file
from world_model.video import write_video

SCALE, GAP, MARGIN, HEADER = 2, 4, 96, 28
INK, FAINT, PAPER = (240, 240, 245), (150, 155, 170), (18, 20, 28)
ROWS = ("real", "imagined", "difference")


def write_strip(
    path: Path,
    clips: Clips,
    imagined: np.ndarray,
    chosen: Sequence[int] | None = None,
    *,
    world: str | None = None,
) -> None:
    """A PNG of some clips (default: four in which much happens), each in three rows.

    Raises:
        StorageError: if the file cannot be written.
    """
    blocks = []
    for i in eventful(clips, 4) if chosen is None else chosen:
        real, dream = clips.frames[i], imagined[i]
        rows = dict(zip(ROWS, (real, dream, difference(real, dream)), strict=True))
        blocks.append((clips.last_seen[i, 0], rows))
    write_rows(path, blocks, world=world)


def write_rows(
    path: Path,
    blocks: Sequence[tuple[np.ndarray, dict[str, np.ndarray]]],
    *,
    world: str | None = None,
) -> None:
    """A PNG of blocks of named rows, each row one film at a few steps.

    Args:
        path: the file.
        blocks: the last given frame uint8 (h, w, 3), and films uint8 (H, h, w, 3) by name.
        world: ``model_id`` of the world that imagined them, which the file then says.

    Raises:
        StorageError: if the file cannot be written.
    """
    horizon = len(next(iter(blocks[0][1].values())))
    steps = sorted({h for h in (1, 2, 4, 8, 12, 16, horizon) if h <= horizon})
    height, width = (side * SCALE for side in blocks[0][0].shape[:2])
    tops = [HEADER]
    for _, rows in blocks:
        tops.append(tops[-1] + len(rows) * (height + GAP) + 3 * GAP)
    size = (MARGIN + (len(steps) + 1) * (width + GAP), tops[-1])
    canvas = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text((MARGIN, 6), "last given frame", FAINT, font)
    for column, h in enumerate(steps):
        draw.text((MARGIN + (column + 1) * (width + GAP), 6), f"step {h}", INK, font)
    for top, (given, rows) in zip(tops, blocks, strict=False):
        canvas.paste(_large(given), (MARGIN, top))
        for row, (name, film) in enumerate(rows.items()):
            y = top + row * (height + GAP)
            draw.text((8, y + height // 2 - 8), name[:14], FAINT if name == ROWS[2] else INK, font)
            for column, h in enumerate(steps):
                canvas.paste(_large(film[h - 1]), (MARGIN + (column + 1) * (width + GAP), y))
    with atomic_file(path) as temporary:
        canvas.save(temporary, **image_arguments(_said(world), path.suffix))


def write_comparison(
    path: Path,
    clips: Clips,
    imagined: np.ndarray,
    fps: float,
    chosen: int | None = None,
    *,
    world: str | None = None,
) -> None:
    """A film of a clip (default: of the longest one): real, imagined and difference side by side.

    Raises:
        StorageError: if the file cannot be written.
    """
    i = int(np.argmax(clips.known.sum(1))) if chosen is None else chosen
    known = slice(0, int(clips.known[i].sum()))
    real, dream = clips.frames[i, known], imagined[i, known]
    films = (real, dream, difference(real, dream))
    write_side_by_side(path, dict(zip(ROWS, films, strict=True)), fps, world=world)


def write_side_by_side(
    path: Path, films: dict[str, np.ndarray], fps: float, *, world: str | None = None
) -> None:
    """A film of named films uint8 (H, h, w, 3) beside each other, with the step.

    Raises:
        StorageError: if the file cannot be written.
    """
    first = next(iter(films.values()))
    height, width = (side * 2 * SCALE for side in first.shape[1:3])
    size = (len(films) * (width + GAP) + GAP, height + HEADER + GAP)
    font = ImageFont.load_default(14)
    shots = []
    for h in range(len(first)):
        # yuv420p halves the colours' resolution: both sides must be even.
        canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAPER)
        draw = ImageDraw.Draw(canvas)
        for column, (name, film) in enumerate(films.items()):
            x = GAP + column * (width + GAP)
            draw.text((x, 6), f"{name}, step {h + 1}" if column == 1 else name, INK, font)
            canvas.paste(_large(film[h], 2 * SCALE), (x, HEADER))
        shots.append(np.asarray(canvas))
    write_video(path, np.stack(shots), fps, scale=1, provenance=_said(world))


def _said(world: str | None) -> Provenance | None:
    return None if world is None else Provenance(world, with_real=True)


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
