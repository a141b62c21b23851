"""Every broken twin fails the metrics that speak of its fault, and no others."""

import pytest

from tests.benchmarks import twins

IMAGINED = {name for name in twins.METRICS if name.endswith(", imagined")}
OVER_THE_CLIP = {"return until the end: error", "steps lived: error"}
FRAMES = {name for name, metric in twins.METRICS.items() if metric.part == "fidelity"}
CONTROL = {name for name, metric in twins.METRICS.items() if metric.part == "controllability"}
TRUTH = {name for name, metric in twins.METRICS.items() if metric.part == "probes"}
REWARDS = {
    f"{name}, {source}"
    for name in ("reward: absolute error", "reward: correlation", "rare rewards: F1",
                 "return: error")
    for source in ("imagined", "real frames")
}  # fmt: skip
ENDS = {name for name in twins.METRICS if name.startswith("ends: ")}
ASTRAY = FRAMES | IMAGINED | OVER_THE_CLIP | CONTROL | TRUTH
"""Of a world whose ball is elsewhere: rewards and ends are read off its own frames."""

EXPECTED = {
    "perfect": set(),
    "frozen frames": ASTRAY | {"frames equal to the last"},
    # The ball goes right until it stands at the wall.
    "actions ignored": ASTRAY | {"frames equal to the last"},
    "rewards a step late": REWARDS | {"return until the end: error"},
    "never ends": ENDS | {"steps lived: error"},
    "colours drift": FRAMES - {"PSNR, first step"} | {"brightness in its usual range"},
    "one memorised future": ASTRAY,
    "coin decides": ASTRAY,
    "no ball": FRAMES
    | CONTROL
    | TRUTH
    | {"frames equal to the last", "brightness in its usual range"},
    "overcautious": ENDS | OVER_THE_CLIP,
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return twins.make_bench(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@pytest.mark.parametrize("name", twins.TWINS)
def test_a_twin_fails_exactly_what_it_should(bench, name):
    assert twins.failed(twins.measure(bench, twins.TWINS[name])) == EXPECTED[name]


def test_every_metric_is_failed_by_some_twin():
    assert set.union(*EXPECTED.values()) == set(twins.METRICS)


def test_the_documentation_shows_this_table():
    text = twins.DOCS.read_text()
    shown = text.split(twins.BEGIN)[1].split(twins.END)[0].strip()
    assert shown == twins.table(EXPECTED), "python -m tests.benchmarks.twins writes it anew"
