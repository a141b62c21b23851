"""Every broken twin fails the metrics that speak of its fault, and no others."""

from functools import partial

import gymnasium as gym
import pytest

import nfd_env  # noqa: F401 - registers the ids
from benchmarks.diamond_env import DiamondWorld
from benchmarks.imagined_env import EnvWorld
from benchmarks.real_world import RealWorld
from tests.benchmarks import sliding, sliding_game, twins
from tests.benchmarks.diamond_style import WorldModelEnv

IMAGINED = {name for name in twins.METRICS if name.endswith(", imagined")}
OVER_THE_CLIP = {"return until the end: error", "steps lived: error"}
FRAMES = {name for name, metric in twins.METRICS.items() if metric.part == "fidelity"}
AT_ONCE = {"PSNR, first step", *(name for name in twins.METRICS if name.startswith("one step"))}
"""Of frames that nothing imagined comes before: a fault that grows does not show in them."""
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
    "colours drift": FRAMES - AT_ONCE
    | {"brightness in its usual range", "counterfactual: PSNR of what changed"}
    | {"step at which it diverges"},
    "one memorised future": ASTRAY,
    "coin decides": ASTRAY,
    # What is missing from the first step on does not accumulate.
    "no ball": FRAMES - {"PSNR lost to accumulated errors"}
    | CONTROL
    | TRUTH
    | {"frames equal to the last", "brightness in its usual range", "step at which it diverges"},
    "overcautious": ENDS | OVER_THE_CLIP,
    # Clips are over before the first throw: that it is another future each time nothing else sees.
    "dice without a seed": {
        "steps that are equal when played again",
        "frames that are equal beside others",
    },
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return twins.make_bench(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@pytest.mark.parametrize("name", twins.TWINS)
def test_a_twin_fails_exactly_what_it_should(bench, name):
    assert twins.failed(twins.measure(bench, twins.TWINS[name])) == EXPECTED[name]


def as_single(world):
    """The twin as a Gymnasium environment."""
    return EnvWorld(partial(gym.make, "NFD-World-v0", world=world, endless=True),
                    name="twin", context_length=2, streams=40)  # fmt: skip


def as_batch(world):
    """The twin as a vector environment."""
    make = partial(gym.make_vec, "NFD-World-v0", num_envs=40, world=world, endless=True)
    return EnvWorld(make, name="twin", context_length=2)


def as_diamond(world):
    """The twin with the interface of DIAMOND's environment."""
    return DiamondWorld(partial(WorldModelEnv, world), name="twin", frame_shape=sliding.SHAPE,
                        actions=["stay", "right", "left"], context_length=2)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [as_single, as_batch, as_diamond])
@pytest.mark.parametrize("name", ["perfect", "coin decides"])
def test_through_an_adapter_a_twin_fails_the_same(bench, name, adapter):
    world = adapter(twins.TWINS[name])
    figures = twins.measure_imagined(bench, world.make_rollout())
    world.close()
    assert twins.failed(figures, twins.IMAGINED) == EXPECTED[name] & set(twins.IMAGINED)


@pytest.mark.slow
def test_the_real_game_fails_nothing(bench):
    world = RealWorld(sliding_game.world(), games=8)
    figures = twins.measure_imagined(bench, world.make_rollout())
    assert set(figures["fidelity"]["teacher_forced"]) == {"why_not"}
    asked = {n: twins.IMAGINED[n] for n in twins.IMAGINED if n not in twins.TEACHER_FORCED}
    assert twins.failed(figures, asked) == set()


def test_every_metric_is_failed_by_some_twin():
    assert set.union(*EXPECTED.values()) == set(twins.METRICS)


def test_the_documentation_shows_this_table():
    text = twins.DOCS.read_text()
    shown = text.split(twins.BEGIN)[1].split(twins.END)[0].strip()
    assert shown == twins.table(EXPECTED), "python -m tests.benchmarks.twins writes it anew"
