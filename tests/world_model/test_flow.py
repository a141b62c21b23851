"""Noising, parameterisations and the loss."""

import pytest
import torch

from tests.world_model.tiny import tiny_world
from world_model.flow import (
    FlowConfig,
    add_noise,
    flow_loss,
    predict_velocity,
    predict_x0,
    previous_frames,
    sample_times,
    shift_time,
)


def test_noising_is_a_straight_line_from_data_to_noise():
    x0, noise = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    t = torch.tensor([[0.0, 0.25, 1.0]] * 2)
    x_t = add_noise(x0, noise, t)
    assert torch.equal(x_t[:, 0], x0[:, 0])
    assert torch.equal(x_t[:, 2], noise[:, 2])
    torch.testing.assert_close(x_t[:, 1], 0.75 * x0[:, 1] + 0.25 * noise[:, 1])


def test_velocity_and_x_are_two_names_for_one_prediction():
    x0, noise = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    t = torch.rand(2, 3) * 0.9 + 0.1
    x_t = add_noise(x0, noise, t)
    torch.testing.assert_close(predict_velocity(x0, x_t, t), noise - x0, atol=1e-4, rtol=1e-4)
    as_v = predict_x0(noise - x0, x_t, t, None, FlowConfig(prediction="v", loss="v"))
    torch.testing.assert_close(as_v, x0, atol=1e-5, rtol=1e-5)


def test_untrained_output_repeats_the_last_frame():
    previous = torch.randn(1, 2, 4, 5)
    zeros = torch.zeros_like(previous)
    assert torch.equal(predict_x0(zeros, zeros, torch.ones(1, 2), previous, FlowConfig()), previous)


def test_noise_levels_are_independent_per_frame_and_cover_both_ends():
    config = FlowConfig(noise_fraction=0.1, context_fraction=0.2, context_noise_max=0.2)
    t = sample_times((4000, 2), config, torch.Generator().manual_seed(0))
    assert abs(torch.corrcoef(t.T)[0, 1]) < 0.05
    assert abs((t == 1).float().mean() - 0.1) < 0.02
    assert 0.2 < (t <= 0.2).float().mean() < 0.35
    assert t.min() >= 0
    assert t.max() <= 1


def test_shift_moves_towards_noise():
    t = torch.linspace(0, 1, 5)
    shifted = shift_time(t, 3.0)
    assert shifted[0] == 0
    assert shifted[-1] == 1
    assert (shifted[1:-1] > t[1:-1]).all()
    torch.testing.assert_close(shift_time(t, 1.0), t)


def test_the_previous_frame_is_the_one_before():
    latents = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 2, 3)
    generator = torch.Generator().manual_seed(0)
    previous, level = previous_frames(latents, 2, torch.zeros(1, 4), generator)
    assert previous.shape == (1, 4, 2, 6)
    assert previous[0, :, 0, 0].tolist() == [0, 0, 1, 2]  # the latest first
    assert previous[0, :, 0, 3].tolist() == [0, 0, 0, 1]
    assert level[0].tolist() == [1, 0, 0, 0]


def batch(world):
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, 5, 4, 192, generator=generator)
    actions = torch.randint(0, 3, (2, 5, 1), generator=generator).float()
    return latents, actions


@pytest.mark.parametrize("prediction", ["x", "v"])
@pytest.mark.parametrize("loss", ["x_ramp", "x", "v"])
def test_a_perfect_prediction_has_no_loss(prediction, loss):
    """The loss is zero exactly where the network's output is right."""
    world = tiny_world()
    latents, actions = batch(world)
    config = FlowConfig(prediction=prediction, loss=loss, noise_fraction=0.0)

    def oracle(x_t, t, actions, previous, previous_t):
        if prediction == "x":
            return latents - previous[..., :192]
        return (x_t - latents) / t[..., None, None]

    generator = torch.Generator().manual_seed(0)
    value = flow_loss(oracle, latents, actions, config, generator, previous=2)
    assert value < 1e-6


def test_the_loss_ignores_frames_with_nothing_before_them():
    world = tiny_world()
    latents, actions = batch(world)

    def wrong_first(x_t, t, actions, previous, previous_t):
        out = latents - previous[..., :192]
        out[:, 0] = 1e3
        return out

    generator = torch.Generator().manual_seed(0)
    value = flow_loss(wrong_first, latents, actions, FlowConfig(), generator, previous=2)
    assert value < 1e-6


def test_the_same_generator_gives_the_same_loss():
    world = tiny_world()
    latents, actions = batch(world)
    values = [
        flow_loss(
            world.network,
            latents,
            actions,
            FlowConfig(),
            torch.Generator().manual_seed(seed),
            previous=2,
        )
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="prediction must be"):
        FlowConfig(prediction="eps")
    with pytest.raises(ValueError, match="loss must be"):
        FlowConfig(loss="l1")


class Recorder:
    """Stands for a network: answers with a constant and keeps what it was given."""

    def __init__(self, answer: float) -> None:
        self.answer = answer
        self.given: list[torch.Tensor] = []

    def __call__(self, x_t, t, actions, given, given_t):
        self.given.append(given)
        assert torch.is_grad_enabled() == (len(self.given) == 2)
        return torch.full_like(x_t, self.answer)


def test_own_estimates_stand_for_previous_frames():
    """With x-prediction an answer of 5 means "5 more than the frame before"."""
    latents = torch.arange(4.0)[None, :, None, None].repeat(3, 1, 2, 6)  # frame i is all i
    config = FlowConfig(own_fraction=1.0, context_noise_max=0.0)
    network = Recorder(5.0)
    flow_loss(network, latents, torch.zeros(3, 4, 1), config, torch.Generator(), previous=2)
    real, own = network.given
    # Frame 3 is given frames 2 and 1; their estimates are frames 1 and 0, and 5 more.
    assert real[:, 3].unique().tolist() == [1.0, 2.0]
    assert (own[:, 3, :, :6] == 6.0).all()
    assert (own[:, 3, :, 6:] == 5.0).all()
    # Frame 0 has no estimate, so frame 1 is given the real one.
    assert (own[:, 1, :, :6] == 0.0).all()


def test_a_share_of_the_windows_keeps_the_real_frames():
    latents = torch.ones(5, 3, 1, 6)
    config = FlowConfig(own_fraction=0.25, context_noise_max=0.0)
    network = Recorder(5.0)
    flow_loss(network, latents, torch.zeros(5, 3, 1), config, torch.Generator(), previous=1)
    assert len(network.given[0]) == 2  # a quarter of five, rounded up: no more are estimated
    replaced = network.given[1][:, 2, 0] == 6.0
    assert replaced.all(-1).tolist() == [True, True, False, False, False]
    with pytest.raises(ValueError, match="own_fraction must lie in"):
        FlowConfig(own_fraction=1.5)
