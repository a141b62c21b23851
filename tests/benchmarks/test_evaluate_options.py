"""Options that cannot be measured with are refused before anything is."""

from dataclasses import fields

import pytest

from benchmarks.evaluate_options import LEAST, EvaluateOptions
from benchmarks.training_budget import TrainingBudget
from world_model.errors import ConfigError


def test_numbers_have_a_smallest_value():
    numbers = {f.name for f in fields(EvaluateOptions) if isinstance(f.default, int)}
    assert set(LEAST) == numbers - {"pictures", "card", "report"}
    for name, least in LEAST.items():
        EvaluateOptions(**{name: least})
        flag = name.replace("_", "-")
        with pytest.raises(ConfigError, match=f"--{flag} {least - 1}: it must be at least {least}"):
            EvaluateOptions(**{name: least - 1})


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_sampling_steps_have_a_range(steps):
    with pytest.raises(ConfigError, match=f"--steps {steps}: .* between 1 and 1,000"):
        EvaluateOptions(steps=(1, steps))


def test_samplers_are_known():
    EvaluateOptions(sampler="euler")
    with pytest.raises(ConfigError, match="--sampler foo: there are euler, "):
        EvaluateOptions(sampler="foo")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": -1}, "--training.steps -1: it must be at least 0"),
        ({"episodes": 0}, "--training.episodes 0: it must be at least 1"),
        ({"rollout": 0}, "--training.rollout 0"),
        ({"real_data": -5}, "--training.real-data -5"),
        ({"seeds": ()}, "--training.seeds needs at least one"),
        ({"seeds": (0, -1)}, "neither seeds"),
        ({"horizons": (5, -1)}, "--training.horizons may be below 0"),
    ],
)
def test_agents_have_a_budget_that_can_be_spent(given, words):
    with pytest.raises(ConfigError, match=words):
        TrainingBudget(**given)
