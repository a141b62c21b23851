import xml.etree.ElementTree as ET

import pytest

from benchmarks import html_page
from benchmarks.html_charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, curves, scatter
from benchmarks.html_page import Html, data_uri, fill, page, table
from tests.benchmarks.evaluations import interval, picture


def points(figure, tag):
    found = [e for e in ET.fromstring(figure).iter() if e.tag == tag]
    return [[tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in found]


def test_a_curve_is_where_its_numbers_are():
    line = Line("a", [(1, interval(0.0, 0.0)), (2, interval(5.0, 1.0)), (3, interval(10.0, 0.0))])
    figure = curves([line], "title", "x", "y")
    bottom, middle = HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2
    xs = [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    assert points(figure, "polyline") == [list(zip(xs, [bottom, middle, TOP], strict=True))]
    (area,) = points(figure, "polygon")
    assert len(area) == 6
    assert area[1][1] < middle < area[4][1]  # the shade lies around the curve
    assert "title: a 0 at 1, 10 at 3" in figure


def test_gaps_and_nothing_to_draw():
    gap = {"estimate": None, "low": None, "high": None}
    line = Line("a", [(1, interval(1.0)), (2, gap), (3, {"estimate": 2.0})])
    assert len(points(curves([line], "t", "x"), "polyline")[0]) == 2
    assert curves([Line("a", [(1, gap)])], "t", "x") == ""
    assert scatter([("a", gap, interval(1.0))], "t", "x", "y") == ""
    assert "polyline" in curves([Line("flat", [(1, interval(1.0, 0.0))])], "t", "x")


def test_equal_points_lie_on_the_diagonal():
    figure = scatter([("p & q", interval(4.0), interval(4.0))], "t", "x", "y")
    circle = next(e for e in ET.fromstring(figure).iter("circle"))
    line = next(e for e in ET.fromstring(figure).iter("line"))
    x, y = (float(circle.get(name)) for name in ("cx", "cy"))
    x1, y1, x2, y2 = (float(line.get(name)) for name in ("x1", "y1", "x2", "y2"))
    assert (y - y1) / (x - x1) == pytest.approx((y2 - y1) / (x2 - x1), rel=0.01)
    assert "p &amp; q" in figure


def test_only_markup_is_markup():
    assert fill("<p>$x$y</p>", x="<i>$y", y=Html("<b>z</b>")) == "<p>&lt;i&gt;$y<b>z</b></p>"
    shown = table(["a", "<b>"], [["<c>", "d"]], "<e>")
    assert "<b>" not in shown
    assert "<c>" not in shown
    assert "<e>" not in shown
    assert "<title>&lt;x&gt;</title>" in page("<x>", Html(""))


def test_pictures_are_inside_the_page_unless_they_are_too_large(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png")
    assert data_uri(path).startswith("data:image/png;base64,iVBOR")
    assert data_uri(tmp_path / "none.png") is None
    assert data_uri(tmp_path) is None
    monkeypatch.setattr(html_page, "LARGEST_MB", 0)
    assert data_uri(path) is None
    assert "a.png is too large to show here" in html_page.picture(path, "alt")
