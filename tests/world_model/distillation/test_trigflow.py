from __future__ import annotations

import torch

from tests.world_model.distillation.gaussian import MEAN, STD, posterior_mean
from world_model.distillation import trigflow
from world_model.flow import add_noise


def times(count=50):
    return torch.linspace(trigflow.MIN_T, trigflow.HALF_PI, count)[None]


def test_noised_tokens_are_the_flows_up_to_scale():
    t = times()
    x0, z = torch.randn(2, 1, 50, 3, 2)
    x, s = trigflow.to_flow(trigflow.noised(x0, z, t), t)
    torch.testing.assert_close(x, add_noise(x0, z, s))


def test_velocity_is_that_of_the_trigonometric_path():
    """Of a normal distribution: dx/dt = E[cos t z - sin t x_0 | x_t] has a closed form."""
    t = times()
    x = torch.randn(1, 50, 1, 1)
    cos, sin = t.cos()[..., None, None], t.sin()[..., None, None]
    variance = (cos * STD) ** 2 + sin**2
    x0 = MEAN + cos * STD**2 / variance * (x - cos * MEAN)
    z = sin / variance * (x - cos * MEAN)
    torch.testing.assert_close(
        trigflow.velocity(posterior_mean, x, t), cos * z - sin * x0, rtol=1e-4, atol=2e-4
    )


def test_times_are_arctangents_of_a_lognormal():
    t = trigflow.sample_times((200_000,), 0.3, 1.6, torch.Generator().manual_seed(0))
    n = t[t > trigflow.MIN_T].tan().log()
    assert abs(n.median().item() - 0.3) < 0.03
    assert abs(n.std().item() - 1.6) < 0.03
    assert t.min() == torch.tensor(trigflow.MIN_T)
    assert t.max() < trigflow.HALF_PI
