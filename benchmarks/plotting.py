"""The look of the benchmarks' plots."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from world_model.storage import atomic_file

COLOURS = ("#2f6fde", "#d9822b", "#3a9d5d", "#a14fc0", "#c2394b")
GREY = "#8a90a0"
INK = "#22252e"


def figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.4, 3.3)) -> Any:
    """A figure and its axes, an array (rows, columns); axes that nothing is drawn on vanish."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        dpi=120,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e3e5ea", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=INK, length=0, labelsize=8)
        ax.title.set_size(10)
    return fig, axes


def ends_of(interval: Mapping[str, Any]) -> tuple[float, float]:
    """Both ends of an interval; the estimate twice where there is none."""
    low, high, estimate = (interval[name] for name in ("low", "high", "estimate"))
    return (estimate if low is None else low, estimate if high is None else high)


def cross(ax: Any, x: Mapping[str, Any], y: Mapping[str, Any], name: str, colour: str) -> None:
    """A named point with its intervals in both directions, as far as there are any."""
    at = (x["estimate"], y["estimate"])
    bars = []
    for side in (x, y):
        low, high = ends_of(side)
        bars.append([[side["estimate"] - low], [high - side["estimate"]]])
    ax.errorbar(
        [at[0]],
        [at[1]],
        xerr=bars[0],
        yerr=bars[1],
        fmt="o",
        color=colour,
        ecolor=GREY,
        elinewidth=1,
        markersize=5,
    )
    ax.annotate(name, at, (5, 5), textcoords="offset points", fontsize=8)


def save(fig: Any, path: Path) -> None:
    """Writes a PNG and lets the figure go.

    Raises:
        StorageError: if the file cannot be written.
    """
    import matplotlib.pyplot as plt

    for ax in fig.axes:
        if not ax.has_data():
            ax.set_visible(False)
    with atomic_file(path) as temporary:
        fig.savefig(temporary, format="png", facecolor="white")
    plt.close(fig)


def has_matplotlib(console: Console) -> bool:
    """Whether plots can be drawn; says so once where they cannot."""
    if find_spec("matplotlib") is None:
        console.print('No plots without matplotlib: pip install "nfd-world[report]"')
        return False
    return True
