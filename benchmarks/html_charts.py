"""Curves and scatter plots as inline SVG, which follows the page's colours and needs no package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.html_page import Html, fill, join, text

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 24, 36
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")
"""Lines differ by more than their colour."""


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    """In the legend."""
    points: Sequence[tuple[float, Mapping[str, Any]]]
    """x, and the estimate with its interval."""
    grey: bool = False
    """Whether it is a baseline."""
    dotted: bool = False
    """Whether it is the second baseline of a chart."""


@dataclass(frozen=True)
class _Axes:
    """From values to places in the picture."""

    low: tuple[float, float]
    high: tuple[float, float]

    def x(self, value: float) -> float:
        share = (value - self.low[0]) / ((self.high[0] - self.low[0]) or 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low[1]) / ((self.high[1] - self.low[1]) or 1)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def curves(
    lines: Sequence[Line],
    title: str,
    x_label: str,
    y_label: str = "",
    y_range: tuple[float, float] | None = None,
) -> Html:
    """Curves with their intervals as shades, and a legend below.

    ``y_range`` is shown even where no curve goes there.
    """
    known = [_known(line) for line in lines]
    ends = [end for points in known for _, p in points for end in _ends(p)]
    ends += y_range if ends and y_range else ()
    places = [x for points in known for x, _ in points]
    if not ends:
        return Html("")
    bottom, top = min(ends), max(ends)
    axes = _Axes((min(places), bottom), (max(places), top if top > bottom else bottom + 1))
    drawn, legend, colour = [], [], 0
    for line, points in zip(lines, known, strict=True):
        if not points:
            continue
        paint = "var(--grey)" if line.grey else f"var(--c{colour % 5})"
        dash = DASHES[2 * line.dotted if line.grey else (colour + colour // 5) % 5]
        colour += not line.grey
        over = [f"{axes.x(x)},{axes.y(_ends(p)[1])}" for x, p in points]
        under = [f"{axes.x(x)},{axes.y(_ends(p)[0])}" for x, p in reversed(points)]
        drawn.append(
            fill(
                '<polygon points="$area" fill="$paint" fill-opacity=".16"/>'
                '<polyline points="$line" fill="none" stroke="$paint" stroke-width="2" '
                'stroke-dasharray="$dash"/>',
                area=" ".join(over + under),
                line=" ".join(f"{axes.x(x)},{axes.y(p['estimate'])}" for x, p in points),
                paint=paint,
                dash=dash,
            )
        )
        legend.append(_entry(line.name, paint, dash))
    spoken = "; ".join(
        f"{line.name} {points[0][1]['estimate']:.3g} at {points[0][0]:g}, "
        f"{points[-1][1]['estimate']:.3g} at {points[-1][0]:g}"
        for line, points in zip(lines, known, strict=True)
        if points
    )
    picture = _picture(axes, drawn, title, x_label, y_label, f"{title}: {spoken}")
    return fill(
        '<figure>$picture<ul class="legend">$legend</ul></figure>',
        picture=picture,
        legend=join(legend),
    )


def scatter(
    points: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]],
    title: str,
    x_label: str,
    y_label: str,
) -> Html:
    """Named points with intervals in both directions, beside the diagonal.

    Args:
        points: name, and the estimate with its interval along x and along y.
        title: of the picture.
        x_label: below it.
        y_label: beside it.
    """
    shown = [p for p in points if p[1]["estimate"] is not None and p[2]["estimate"] is not None]
    if not shown:
        return Html("")
    ends = [end for _, x, y in shown for end in (*_ends(x), *_ends(y))]
    low, high = min(0.0, *ends), max(ends)
    axes = _Axes((low, low), (high, high if high > low else low + 1))
    drawn = [
        fill(
            '<line x1="$a" y1="$b" x2="$c" y2="$d" stroke="var(--grey)" stroke-dasharray="4 3"/>',
            a=axes.x(low), b=axes.y(low), c=axes.x(high), d=axes.y(high),
        )
    ]  # fmt: skip
    for name, x, y in shown:
        cx, cy = axes.x(x["estimate"]), axes.y(y["estimate"])
        left, right = (axes.x(end) for end in _ends(x))
        under, over = (axes.y(end) for end in _ends(y))
        # Names of points at the right edge stand to the left of them.
        anchor, shift = ("end", -6) if cx > WIDTH * 0.7 else ("start", 6)
        # And of those at the top edge below them.
        lift = 14 if cy < TOP + 14 else -5
        drawn.append(
            fill(
                '<path d="M$left $cy H$right M$cx $under V$over" stroke="var(--c0)" '
                'stroke-opacity=".55"/><circle cx="$cx" cy="$cy" r="3.5" fill="var(--c0)"/>'
                '<text x="$tx" y="$ty" text-anchor="$anchor">$name</text>',
                left=left, right=right, under=under, over=over, cx=cx, cy=cy,
                tx=cx + shift, ty=cy + lift, anchor=anchor, name=name,
            )
        )  # fmt: skip
    spoken = "; ".join(f"{n} {x['estimate']:.3g} and {y['estimate']:.3g}" for n, x, y in shown)
    label = f"{title}, {x_label} and {y_label}: {spoken}"
    return fill("<figure>$it</figure>", it=_picture(axes, drawn, title, x_label, y_label, label))


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Round numbers between two others, perhaps only whole ones.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(19.0, 31.0)
    [20.0, 22.5, 25.0, 27.5, 30.0]
    >>> ticks(1.0, 16.0, 6, whole=True)
    [5.0, 10.0, 15.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    scale = 10.0 ** math.floor(math.log10(rough))
    sizes = [s * scale for s in (1, 2, 2.5, 5, 10)]
    step = next(
        s for s in sizes if s >= rough * 0.999 and not (whole and not float(s).is_integer())
    )
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + step * 1e-9:
        found.append(round(first * step, 10))
        first += 1
    return found


def _picture(
    axes: _Axes, drawn: Sequence[Html], title: str, x_label: str, y_label: str, spoken: str
) -> Html:
    return fill(
        '<svg viewBox="0 0 $width $height" role="img" aria-label="$spoken">'
        '<text class="title" x="$left" y="14">$title</text>$grid'
        '<text x="$right" y="$low" text-anchor="end">$x_label</text>'
        '<text x="$right" y="14" text-anchor="end">$y_label</text>$drawn</svg>',
        width=WIDTH, height=HEIGHT, spoken=spoken, left=LEFT, title=title,
        grid=join(_grid(axes)), right=WIDTH - RIGHT, low=HEIGHT - 4, x_label=x_label,
        y_label=y_label, drawn=join(drawn),
    )  # fmt: skip


def _grid(axes: _Axes) -> Iterator[Html]:
    for value in ticks(axes.low[1], axes.high[1]):
        yield fill(
            '<path class="axis" d="M$a $y H$b"/><text x="$t" y="$ty" text-anchor="end">$v</text>',
            a=LEFT, b=WIDTH - RIGHT, y=axes.y(value), t=LEFT - 5, ty=axes.y(value) + 4,
            v=f"{value:g}",
        )  # fmt: skip
    whole = axes.high[0] - axes.low[0] >= 4
    for value in ticks(axes.low[0], axes.high[0], 6, whole):
        yield fill(
            '<text x="$x" y="$y" text-anchor="middle">$v</text>',
            x=axes.x(value), y=HEIGHT - BOTTOM + 15, v=f"{value:g}",
        )  # fmt: skip


def _entry(name: str, paint: str, dash: str) -> Html:
    return fill(
        '<li><svg viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4 H26" stroke="$paint" '
        'stroke-width="2" stroke-dasharray="$dash"/></svg> $name</li>',
        paint=paint, dash=dash, name=text(name),
    )  # fmt: skip


def _known(line: Line) -> list[tuple[float, Mapping[str, Any]]]:
    return [(x, point) for x, point in line.points if point["estimate"] is not None]


def _ends(point: Mapping[str, Any]) -> tuple[float, float]:
    """Ends of the interval, or the estimate where they are unknown."""
    low, high = point.get("low"), point.get("high")
    estimate = float(point["estimate"])
    return (estimate if low is None else float(low), estimate if high is None else float(high))
