"""One very long episode as a table, a strip of frames and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.frame_statistics import STATISTICS, usual_range
from benchmarks.plotting import COLOURS, GREY, figure, save
from benchmarks.stability import CHECK_EVERY, Trace
from benchmarks.stability_words import called, length_rows, sentences, statistic_rows
from world_model.provenance import Provenance, image_arguments
from world_model.storage import atomic_file


def table(results: Mapping[str, Any], title: str) -> Table:
    """One row per statistic, and what must not happen in the caption."""
    result = Table(
        title=f"{title}: {results['steps']:,} steps in one episode",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    result.add_column("of a frame", no_wrap=True)
    for column in ("training 0.5 to 99.5 %", "first tenth", "last tenth", "in that range",
                   "left for good"):  # fmt: skip
        result.add_column(column, justify="right")
    for row in statistic_rows(results):
        result.add_row(*row)
    memory = results["memory_mb"]
    result.caption = (
        f"Memory {memory['after_warm_up']:.0f} MB after the start, {memory['end']:.0f} MB at the "
        f"end ({memory['growth_per_1000_steps']:+.2f} MB per 1,000 steps); "
        f"{results['bad_numbers']} checks with NaN or infinity; {results['frozen_share']:.1%} of "
        f"frames equal to the one before; {results['frames_per_second']:.0f} frames/s."
    )
    result.caption = "\n".join([result.caption, *sentences(results)])
    return result


def length_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row per stretch of the episode."""
    result = Table(title="by length", title_justify="left", box=SIMPLE_HEAD)
    for column in ("steps", "frames/s", "in the range of training", "Frechet distance"):
        result.add_column(column, justify="right")
    for row in length_rows(rows):
        result.add_row(*row)
    return result


def write_strip(
    path: Path, trace: Trace, scale: int = 2, columns: int = 8, *, world: str | None = None
) -> None:
    """The kept frames in rows, in the order of their steps.

    Raises:
        StorageError: if the file cannot be written.
    """
    height, width = (side * scale for side in trace.shots[0][1].shape[:2])
    rows = -(-len(trace.shots) // columns)
    canvas = Image.new("RGB", (columns * (width + 4), rows * (height + 20)), (18, 20, 28))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for place, (step, frame) in enumerate(trace.shots):
        x, y = place % columns * (width + 4), place // columns * (height + 20)
        draw.text((x + 2, y + 2), f"step {step:,}", (240, 240, 245), font)
        large = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(large, (x, y + 18))
    with atomic_file(path) as temporary:
        said = None if world is None else Provenance(world)
        canvas.save(temporary, **image_arguments(said, path.suffix))


def plot(trace: Trace, usual: np.ndarray, path: Path) -> None:
    """The statistics over time with the training frames' range, and memory.

    Raises:
        StorageError: if the file cannot be written.
    """
    fig, axes = figure(rows=2, columns=2)
    low, high = usual_range(usual)
    steps = len(trace.statistics)
    width = max(1, steps // 200)
    x = np.arange(steps // width) * width
    for i, name in enumerate(STATISTICS):
        ax = axes.flat[i]
        parts = trace.statistics[: len(x) * width, i].reshape(-1, width)
        ax.axhspan(low[i], high[i], color=GREY, alpha=0.2, linewidth=0)
        ax.fill_between(x, parts.min(1), parts.max(1), color=COLOURS[0], alpha=0.3, linewidth=0)
        ax.plot(x, parts.mean(1), color=COLOURS[0])
        ax.set_title(f"{called(name)} (grey: 99 % of training)")
        ax.set_xlabel("step")
    checks = np.arange(1, len(trace.memory_mb) + 1) * CHECK_EVERY
    axes[1, 1].plot(checks, trace.memory_mb, color=COLOURS[0])
    axes[1, 1].set_title("resident memory, MB")
    axes[1, 1].set_xlabel("step")
    axes[1, 1].set_ylim(0, 1.15 * max(trace.memory_mb))
    save(fig, path)
