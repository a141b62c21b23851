"""The plots of a report, light or dark, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.evaluation import Evaluation
from agents.learning_curve import CurvePoint
from agents.statistics import format_number


@dataclass(frozen=True)
class Theme:
    """Colours of a plot."""

    paper: str
    """Background."""
    ink: str
    """Text and axes."""
    grid: str
    """Grid lines."""
    blind: str
    """Policies that do not look."""
    agent: str
    """Trained policies."""
    second: str
    """A second line or dot that must be told from ``agent``."""


LIGHT = Theme("#ffffff", "#22252e", "#e3e5ea", "#9aa1b2", "#2f6fde", "#d9822b")
DARK = Theme("#16181f", "#e6e8ee", "#2c303b", "#737a8c", "#6ea0ff", "#f0a64d")


@dataclass(frozen=True)
class Stretch:
    """A part of a learning curve with its own colour."""

    label: str
    """For the legend."""
    points: Sequence[CurvePoint] = field(default_factory=tuple)
    """In the order of training."""
    offset: int = 0
    """Timesteps that had gone before."""


def plot_returns(evaluations: Sequence[Evaluation], theme: Theme, unit: str) -> bytes:
    """Mean return of each policy with its interval, over the single episodes."""
    import matplotlib.pyplot as plt
    import numpy as np

    rows = list(reversed(evaluations))
    figure, axes = _figure(theme, height=0.9 + 0.42 * len(rows))
    rng = np.random.default_rng(0)
    for y, evaluation in enumerate(rows):
        blind = evaluation.policy == "uniform" or evaluation.policy.startswith("sweep-")
        colour = theme.blind if blind else theme.agent
        jitter = rng.uniform(-0.16, 0.16, len(evaluation.returns))
        axes.scatter(evaluation.returns, y + jitter, s=12, color=colour, alpha=0.6, linewidths=0)
        mean = evaluation.interval
        axes.plot([mean.low, mean.high], [y, y], color=colour, linewidth=7, alpha=0.4,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot([mean.estimate], [y], "|", color=theme.ink, markersize=15, markeredgewidth=2)
        axes.annotate(format_number(mean.estimate), (mean.estimate, y), (0, 10), ha="center",
                      textcoords="offset points", color=theme.ink, fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(rows)), [evaluation.policy for evaluation in rows])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    if min(evaluation.returns.min() for evaluation in rows) >= 0:
        axes.set_xlim(left=0)
    axes.set_xlabel(f"{unit} in the real game: episodes (dots), mean with 95 % interval")
    axes.grid(axis="y", visible=False)
    return _png(figure, plt)


def plot_curve(
    stretches: Sequence[Stretch], levels: Sequence[tuple[str, float]], theme: Theme, unit: str
) -> bytes:
    """Return of the imagined training episodes over timesteps; ``levels`` are dashed lines."""
    import matplotlib.pyplot as plt

    figure, axes = _figure(theme, height=3.4)
    empty = True
    for stretch, colour in zip(stretches, (theme.agent, theme.second), strict=False):
        shown = [point for point in stretch.points if point.episode_return is not None]
        if not shown:
            continue
        empty = False
        axes.plot(
            [stretch.offset + point.timesteps for point in shown],
            [point.episode_return for point in shown],
            color=colour,
            linewidth=2,
            marker="o" if len(shown) < 3 else None,
            label=stretch.label,
        )
    for _, value in levels:
        axes.axhline(value, color=theme.blind, linewidth=1, linestyle=(0, (4, 3)))
    if empty:
        axes.annotate("no episode has ended yet", (0.5, 0.5), xycoords="axes fraction",
                      ha="center", color=theme.ink)  # fmt: skip
    else:
        axes.legend(frameon=False, labelcolor=theme.ink, loc="upper left")
    if levels and (axes.get_ylim()[0] >= 0 or all(value >= 0 for _, value in levels)):
        axes.set_ylim(bottom=0)
    axes.set_xlabel("imagined steps")
    axes.set_ylabel(unit)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    bottom, top = axes.get_ylim()
    heights = spread([(value - bottom) / (top - bottom) for _, value in levels], gap=0.07)
    for (name, _), height in zip(levels, heights, strict=True):
        axes.annotate(name, (1.01, height), xycoords="axes fraction", va="center",
                      color=theme.ink, fontsize=8)  # fmt: skip
    return _png(figure, plt)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights of labels, moved up where they would come closer to each other than ``gap``.

    >>> [round(height, 2) for height in spread([0.5, 0.1, 0.52], gap=0.1)]
    [0.5, 0.1, 0.6]
    """
    moved = list(heights)
    lowest = float("-inf")
    for index in sorted(range(len(moved)), key=lambda i: heights[i]):
        lowest = moved[index] = max(moved[index], lowest + gap)
    return moved


def _figure(theme: Theme, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.6, height), dpi=150, layout="constrained")
    figure.set_facecolor(theme.paper)
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    return figure, axes


def _png(figure: Any, plt: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor())
    plt.close(figure)
    return stream.getvalue()
