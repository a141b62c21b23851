"""Noise is a pure function of its key, and it is normal."""

import torch

from world_model.noise import Purpose, normal, stream_keys, uniform


def keys(count, purpose=Purpose.SAMPLE, frame=0, step=0):
    return stream_keys(torch.arange(count), torch.full((count,), frame), purpose, step)


def test_a_stream_draws_the_same_in_every_batch():
    together = normal(keys(5), (4, 3))
    for i in range(5):
        assert torch.equal(normal(keys(5)[i : i + 1], (4, 3))[0], together[i])


def test_every_part_of_the_key_matters():
    seeds, frame = torch.tensor([7]), torch.tensor([3])
    base = normal(stream_keys(seeds, frame, Purpose.SAMPLE), (64,))
    others = [
        stream_keys(seeds + 1, frame, Purpose.SAMPLE),
        stream_keys(seeds, frame + 1, Purpose.SAMPLE),
        stream_keys(seeds, frame, Purpose.CONTEXT),
        stream_keys(seeds, frame, Purpose.SAMPLE, 1),
        stream_keys(seeds + 2**40, frame, Purpose.SAMPLE),  # high bits count too
    ]
    for other in others:
        correlation = torch.corrcoef(torch.stack([base[0], normal(other, (64,))[0]]))[0, 1]
        assert correlation.abs() < 0.5


def test_moments_and_tails_are_those_of_a_normal_distribution():
    x = normal(keys(64), (4096,)).double()
    assert abs(x.mean()) < 0.01
    assert abs(x.var() - 1) < 0.01
    assert abs((x**3).mean()) < 0.05
    assert abs((x**4).mean() - 3) < 0.1
    assert abs((x > 1.96).double().mean() - 0.025) < 0.002


def test_neighbours_are_independent():
    """Neighbouring places, frames and seeds: no correlation beyond chance (about 1/512)."""
    x = normal(keys(2), (2**18,))
    assert abs(torch.corrcoef(torch.stack([x[0, :-1], x[0, 1:]]))[0, 1]) < 0.01
    assert abs(torch.corrcoef(x)[0, 1]) < 0.01
    y = normal(keys(1, frame=1), (2**18,))
    assert abs(torch.corrcoef(torch.stack([x[0], y[0]]))[0, 1]) < 0.01


def test_the_bits_are_fixed():
    """A change of these numbers changes every recorded episode."""
    x = normal(stream_keys(torch.tensor([123]), torch.tensor([45]), Purpose.SAMPLE), (4,))
    expected = torch.tensor([[0.961170, 0.845982, -0.227204, 2.979879]])
    torch.testing.assert_close(x, expected, atol=2e-6, rtol=0)


def test_uniform_is_uniform():
    u = uniform(stream_keys(torch.arange(20_000), torch.zeros(20_000, dtype=torch.int64), 4))
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert abs((u < 0.1).float().mean() - 0.1) < 0.01
