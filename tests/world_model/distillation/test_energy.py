from __future__ import annotations

import pytest
import torch
from torch import nn

from world_model.distillation.conditions import look_back
from world_model.distillation.energy import SMOOTH, EnergyScore, distance
from world_model.distillation.method import LossBatch
from world_model.flow import FlowConfig
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer

PLAIN = FlowConfig(
    loss="energy", noise_fraction=1.0, context_fraction=0.0, context_noise_max=0.0
)  # fmt: skip
"""Every frame is made from pure noise."""


def energy_loss(network, latents, actions, config, generator, *, previous, grid):
    conditions = look_back(None, latents, actions, config, generator, previous=previous)
    batch = LossBatch(latents, actions, None, generator, 0)
    return EnergyScore(config, grid).loss(network, None, batch, conditions)


def test_distance_is_the_error_inside_squares_of_three_sizes():
    tokenizer = PixelPatchTokenizer(PixelPatchConfig((16, 16, 3), 8))
    images = torch.zeros(1, 1, 16, 16, 3)
    images[0, 0, 1, 10, 0] = 6.0  # one colour of one pixel, in one square of each size
    tokens = tokenizer.patchify(images)
    result = distance(tokens, torch.zeros_like(tokens), None, tokenizer.grid, parts=2)
    by_size = []
    for side in (4, 8, 16):
        squares = torch.zeros((16 // side) ** 2)
        squares[0] = 36.0 / (3 * side**2)
        by_size.append((squares + SMOOTH).sqrt().mean())
    assert result.shape == (1, 1)
    assert result.item() == pytest.approx(sum(by_size).item() / 3, rel=1e-5)


def test_weights_count_inside_the_root():
    a, b = torch.zeros(2, 1, 4, 5), torch.ones(2, 1, 4, 5)
    weights = torch.full_like(a, 4.0)
    plain = distance(a, b, None, (2, 2), parts=1)
    assert torch.allclose(distance(a, b, weights, (2, 2), parts=1), 2 * plain, rtol=1e-3)


def test_a_grid_that_does_not_halve_is_no_obstacle():
    a, b = torch.zeros(1, 1, 15, 4), torch.ones(1, 1, 15, 4)
    assert distance(a, b, None, (3, 5), parts=1).item() == pytest.approx(1.0, rel=1e-3)


class Sampler(nn.Module):
    """Stands for a network: a frame is all ``low + (high - low) * (noise > threshold)``."""

    def __init__(self, low: float, high: float, threshold: float = 0.0) -> None:
        super().__init__()
        self.low, self.high, self.threshold = low, high, threshold

    def forward(self, x_t, t, actions, given, given_t, past, past_t):
        chosen = x_t[..., :1, :1] > self.threshold
        return torch.where(chosen, self.high, self.low).expand_as(x_t)


def coin_frames(count: int) -> torch.Tensor:
    """(count, 1, 1, 2): both numbers of a frame are -1 or 1, as a fair coin says."""
    flips = torch.randint(2, (count, 1, 1, 1), generator=torch.Generator().manual_seed(1))
    return (2.0 * flips - 1).repeat(1, 1, 1, 2)


def score(network: nn.Module, frames: torch.Tensor) -> float:
    actions = torch.zeros(len(frames), 1, 1)
    generator = torch.Generator().manual_seed(0)
    return energy_loss(
        network, frames, actions, PLAIN, generator, previous=0, grid=(1, 1)
    ).item()  # fmt: skip


def test_nothing_scores_better_than_the_truth():
    """A coin: E|x - y| - E|x - x'| / 2 is 1/2 for the coin, 1 for its mean and for one side."""
    frames = coin_frames(20_000)
    truth = score(Sampler(-1.0, 1.0), frames)
    assert truth == pytest.approx(0.5, abs=0.03)
    assert score(Sampler(0.0, 0.0), frames) == pytest.approx(1.0, abs=0.03)  # the blur
    assert score(Sampler(1.0, 1.0), frames) == pytest.approx(1.0, abs=0.03)
    assert score(Sampler(-1.0, 1.0, threshold=1.0), frames) > truth + 0.1  # too rarely heads
    assert score(Sampler(-0.7, 0.7), frames) > truth + 0.1


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, x_t, t, actions, given, given_t, past, past_t):
        return self.layers(x_t)


@pytest.mark.slow
def test_one_step_learns_both_sides_of_a_coin():
    """The regression losses would end at the mean, 0."""
    torch.manual_seed(0)
    network, generator = Small(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    frames, actions = coin_frames(512), torch.zeros(512, 1, 1)
    for _ in range(600):
        loss = energy_loss(network, frames, actions, PLAIN, generator, previous=0, grid=(1, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = network(torch.randn(4000, 1, 1, 2), *[None] * 6).squeeze()
    heads = made.mean(-1) > 0
    assert 0.4 < heads.float().mean() < 0.6
    assert ((made.abs() - 1).abs() < 0.3).all(-1).float().mean() > 0.65


def test_a_first_frame_only_serves_as_context():
    class WrongAtFirst(nn.Module):
        def forward(self, x_t, t, actions, given, given_t, past, past_t):
            error = torch.zeros_like(x_t)
            error[:, 0] = 100.0
            return error

    latents = torch.zeros(4, 3, 4, 6)  # nothing changes, so the frame before is right
    actions, generator = torch.zeros(4, 3, 1), torch.Generator()
    for previous, (low, high) in {1: (0.0, 0.1), 0: (10.0, 100.0)}.items():
        result = energy_loss(
            WrongAtFirst(), latents, actions, PLAIN, generator, previous=previous, grid=(2, 2)
        )
        assert low <= result.item() <= high


def test_twins_differ_in_pure_noise_alone():
    """Below t = 1 the noise tells of the truth: to be far from the twin must earn nothing."""
    seen = []

    class Eyes(nn.Module):
        def forward(self, x_t, t, actions, given, given_t, past, past_t):
            seen.append((x_t, t))
            return x_t

    config = FlowConfig(loss="energy", noise_fraction=0.5)
    latents = torch.randn(50, 4, 4, 6)
    energy_loss(
        Eyes(), latents, torch.zeros(50, 4, 1), config, torch.Generator(), previous=0, grid=(2, 2)
    )
    ((x_t, t),) = seen
    (one, other), (level, same_level) = x_t.chunk(2), t.chunk(2)
    assert torch.equal(level, same_level)
    assert 0.3 < (level == 1).float().mean() < 0.7
    assert torch.equal((one != other).all(-1).all(-1), level == 1)
    assert torch.equal((one == other).all(-1).all(-1), level != 1)
