"""The autoencoder's loss: its parts by hand, and what each is for."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from world_model.autoencoder.coder import Posterior
from world_model.autoencoder.losses import LossConfig, autoencoder_loss, pyramid_distance


def test_the_divergence_is_that_of_normal_distributions():
    mean, log_variance = torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, math.log(4.0)])
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    expected = torch.distributions.kl_divergence(normal, standard)
    torch.testing.assert_close(Posterior(mean, log_variance).kl(), expected)


def test_samples_have_the_posteriors_moments():
    shape = (100_000, 1, 1, 1)
    posterior = Posterior(torch.full(shape, 3.0), torch.full(shape, math.log(0.25)))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = posterior.sample(noise)
    assert made.mean().item() == pytest.approx(3.0, abs=0.01)
    assert made.std().item() == pytest.approx(0.5, abs=0.01)


def test_the_parts_add_up():
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    decoded = images + 0.1  # a constant: no detail differs but the coarsest band's, none of these
    posterior = Posterior(torch.ones(2, 4, 2, 2), torch.zeros(2, 4, 2, 2))
    config = LossConfig(kl_weight=0.5, detail_weight=2.0)
    nats = 0.5 * (2 * 4 * 2 * 2)
    expected = 0.1 + 0.5 * nats / images.numel()
    loss = autoencoder_loss(images, decoded, posterior, config)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    given = autoencoder_loss(images, decoded, posterior, config, lambda a, b: torch.full((2,), 7.0))
    assert given.item() == pytest.approx(expected + 2.0 * 7.0, abs=1e-5)


def test_a_blurred_edge_costs_more_in_the_pyramid_than_in_pixels():
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 1.0
    blurred = F.avg_pool2d(F.pad(edge, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    brighter = edge + (blurred - edge).abs().mean()
    assert pyramid_distance(blurred, edge) > 1.5 * (blurred - edge).abs().mean()
    assert pyramid_distance(brighter, edge) == pytest.approx(0, abs=1e-6)


def test_the_pyramid_ends_where_a_side_is_odd():
    a, b = torch.rand(2, 3, 3, 6, 10)
    assert torch.isfinite(pyramid_distance(a, b)).all()
    assert pyramid_distance(a, b).shape == (3,)
    assert (pyramid_distance(a[..., :5], b[..., :5]) == 0).all()


@pytest.mark.parametrize("name", ["kl_weight", "detail_weight"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_that_cannot_be(name, value):
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        LossConfig(**{name: value})
