"""Samplers against flows whose exact solution is known."""

import math

import pytest
import torch

from world_model.samplers import SAMPLERS, get_sampler, time_grid

MEAN, STD = 1.5, 0.3


def gaussian_estimate(x, t, step):
    """E[x0 | x_t] for x0 ~ N(MEAN, STD^2): the flow that samplers must integrate."""
    variance = ((1 - t) * STD) ** 2 + t**2
    return MEAN + (1 - t) * STD**2 / variance * (x - (1 - t) * MEAN)


def exact(noise):
    """The flow of a Gaussian maps noise linearly: x0 = mean + std * noise."""
    return MEAN + STD * noise


FLOW_SAMPLERS = ("euler", "dpmpp2m")


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_many_steps_converge_to_the_exact_flow(name):
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    result = get_sampler(name)(lambda _: noise, time_grid(400), gaussian_estimate)
    assert (result - exact(noise)).abs().max() < 5e-3


def test_the_second_order_sampler_is_better_at_equal_steps():
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    errors = {
        name: (get_sampler(name)(lambda _: noise, time_grid(20), gaussian_estimate) - exact(noise))
        .abs()
        .max()
        for name in FLOW_SAMPLERS
    }
    assert errors["dpmpp2m"] < errors["euler"] / 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_returns_the_estimate(name):
    noise = torch.randn(5)
    assert torch.equal(
        get_sampler(name)(lambda _: noise, time_grid(1), lambda x, t, k: x * 0 + 2), noise * 0 + 2
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_certain_future_needs_no_steps(name):
    """If the estimate does not depend on x, any number of steps ends exactly there."""
    target = torch.randn(6)
    for steps in (1, 2, 5):
        result = get_sampler(name)(
            lambda _: torch.randn(6), time_grid(steps), lambda x, t, k: target
        )
        torch.testing.assert_close(result, target)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_estimator_is_asked_once_per_step_from_noise_down(name):
    asked = []
    noise = torch.randn(3)
    get_sampler(name)(lambda _: noise, time_grid(4), lambda x, t, k: asked.append((t, k)) or x)
    assert asked == [(1.0, 0), (0.75, 1), (0.5, 2), (0.25, 3)]


def test_consistency_noises_every_estimate_anew():
    """A fair coin, by a network that makes a sample from pure noise and keeps it afterwards."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(4000, generator=generator) for _ in range(3)]
    seen = []

    def estimate(x, t, step):
        seen.append(x)
        return x.sign()

    made = get_sampler("consistency")(lambda step: drawn[step], time_grid(3), estimate)
    assert torch.equal(seen[0], drawn[0])
    second = (1 - 2 / 3) * drawn[0].sign() + 2 / 3 * drawn[1]
    torch.testing.assert_close(seen[1], second)
    torch.testing.assert_close(seen[2], (1 - 1 / 3) * second.sign() + 1 / 3 * drawn[2])
    assert (made.abs() == 1).all()
    assert made.mean().abs() < 0.05


def test_shifted_grid():
    grid = time_grid(2, shift=3.0)
    assert grid[0] == 1.0
    assert grid[-1] == 0.0
    assert math.isclose(grid[1], 3 * 0.5 / (1 + 2 * 0.5))


def test_unknown_sampler_and_no_steps():
    with pytest.raises(ValueError, match="unknown sampler 'x'; there are: euler, dpmpp2m"):
        get_sampler("x")
    with pytest.raises(ValueError, match="at least 1, not 0"):
        time_grid(0)
