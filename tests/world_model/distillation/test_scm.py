"""sCM where the answer is known, and its derivative on the real network."""

from __future__ import annotations

import math

import pytest
import torch

from tests.world_model.distillation.gaussian import (
    FLOW,
    MEAN,
    STD,
    TEACHER,
    batch,
    conditions,
    consistency_function,
    data,
    distil,
    posterior_mean,
    pupil,
    right_student,
)
from tests.world_model.tiny import tiny_world
from world_model.distillation import trigflow
from world_model.distillation.conditions import look_back
from world_model.distillation.scm import (
    ContinuousConsistency,
    LearnedWeighting,
    ScmConfig,
    exact_derivative,
)
from world_model.errors import DivergenceError
from world_model.flow import FlowConfig


def make(teacher=posterior_mean, **settings) -> ContinuousConsistency:
    return ContinuousConsistency(FLOW, teacher, TEACHER, ScmConfig(**settings))


def noised(count=500, seed=0):
    latents = data(count, seed)
    t = trigflow.sample_times((count, 2), 0.0, 1.6, torch.Generator().manual_seed(seed))
    return trigflow.noised(latents, torch.randn(latents.shape), t), t, conditions(latents)


@pytest.mark.parametrize(("derivative", "tolerance"), [("jvp", 1e-3), ("difference", 2e-2)])
def test_the_tangent_of_the_right_answer_is_zero(derivative, tolerance):
    method = make(derivative=derivative)
    x, t, given = noised()
    _, right = method.tangent(right_student, x, t, given, 1.0)
    _, wrong = method.tangent(posterior_mean, x, t, given, 1.0)
    assert right.abs().mean() < tolerance
    assert wrong.abs().mean() > 0.2


def test_the_tangent_is_normalised_over_frames_or_clips():
    latents = torch.randn(3, 4, 5, 6)
    t = trigflow.sample_times((3, 4), 0.0, 1.0, torch.Generator().manual_seed(0))
    x, given = trigflow.noised(latents, torch.randn(3, 4, 5, 6), t), conditions(latents)
    offset = 1e-6
    for over, dims in (("frame", (2, 3)), ("clip", (1, 2, 3))):
        method = make(normalise=over, tangent_offset=offset)
        _, g = method.tangent(posterior_mean, x, t, given, 1.0)
        norms = g.square().mean(dim=dims).sqrt()
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-3, atol=1e-3)


def test_warm_up_leaves_out_the_derivative_at_first():
    """With r = 0 the tangent is the difference of the velocities alone."""
    x, t, given = noised()
    _, g = make(tangent_offset=1e9).tangent(right_student, x, t, given, 0.0)
    student = trigflow.velocity(consistency_function, x, t)
    teacher = trigflow.velocity(posterior_mean, x, t)
    expected = -(t.cos()[..., None, None] ** 2) * (student - teacher)
    torch.testing.assert_close(g * 1e9, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_one_step_learns_the_whole_distribution():
    """The many-step network would make of pure noise the mean alone."""
    student, method = pupil(), make(warmup_steps=200)
    made = distil(student, method, 1e-3)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert made.std().item() == pytest.approx(STD, rel=0.15)
    x, t, _ = noised(2000, seed=9)
    x, s = trigflow.to_flow(x, t)
    error = (student(x, s) - consistency_function(x, s)).abs().mean()
    assert error < 0.06  # the mean alone would be off by 0.2 and more


def test_the_loss_is_what_the_formula_says():
    """With u = 0: the mean over frames of sin^2 t / tan t times the squared tangent."""
    latents = data(200, 3)
    given, method = conditions(latents), make(warmup_steps=1)
    loss = method.loss(posterior_mean, posterior_mean, batch(latents, 5, 7), given)
    generator = torch.Generator().manual_seed(7)
    t = trigflow.sample_times((200, 2), 0.0, 1.6, generator)
    x = trigflow.noised(latents, torch.randn(latents.shape, generator=generator), t)
    _, g = method.tangent(posterior_mean, x, t, given, 1.0)
    expected = (g.square().mean((2, 3)) * t.sin() * t.cos()).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


# -- on the real network ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    """Network, noised tokens, times and conditions of two windows."""
    world = tiny_world()
    latents = torch.randn(2, 4, 4, 192, generator=torch.Generator().manual_seed(0))
    config = FlowConfig(loss="scm", own_fraction=0.0, context_noise_max=0.1)
    given = look_back(
        None, latents, torch.zeros(2, 4, 1), config, torch.Generator(), previous=2
    )  # fmt: skip
    t = trigflow.sample_times((2, 4), 0.0, 1.0, torch.Generator().manual_seed(1))
    x = trigflow.noised(latents, torch.randn(latents.shape), t)
    return world.network, x, t, given, config


def test_exact_and_difference_agree(clip):
    network, x, t, given, config = clip
    tangents = []
    for derivative in ("jvp", "difference"):
        settings = ScmConfig(derivative=derivative)
        method = ContinuousConsistency(config, network, config, settings)
        tangents.append(method.tangent(network, x, t, given, 1.0)[1])
    torch.testing.assert_close(tangents[0], tangents[1], rtol=0.02, atol=5e-3)


def test_one_derivative_for_all_frames_is_one_for_each(clip):
    """No noised frame sees another, so the frames' tangents do not mix."""
    network, x, t, given, config = clip
    along = torch.randn(x.shape), torch.rand(t.shape)

    def velocity(x, t):
        return trigflow.velocity(lambda x, s: given.estimate(network, x, s, config), x, t)

    _, together = exact_derivative(velocity, (x, t), along)
    assert together.abs().mean() > 1e-3
    for frame in range(x.shape[1]):
        alone = torch.zeros(x.shape[1])
        alone[frame] = 1.0
        only = along[0] * alone[None, :, None, None], along[1] * alone
        _, derivative = exact_derivative(velocity, (x, t), only)
        torch.testing.assert_close(derivative[:, frame], together[:, frame])
        others = [i for i in range(x.shape[1]) if i != frame]
        assert (derivative[:, others] == 0).all()


def test_the_teacher_gets_no_gradient_and_is_no_part_of_the_method(clip):
    _, x, t, given, config = clip
    network = tiny_world().network.requires_grad_(True)
    method = ContinuousConsistency(config, network, config)
    names = {name for name, _ in method.named_parameters()}
    assert all(name.startswith("weighting.") for name in names)
    before, g = method.tangent(network, x, t, given, 1.0)
    assert not before.requires_grad
    assert not g.requires_grad


def test_tangents_that_are_not_finite_are_skipped_and_counted():
    latents = data(100, 0)

    def broken(x, t, *rest):
        out = posterior_mean(x, t)
        out[0, 0] = math.nan
        return out

    method = make(teacher=broken)
    loss = method.loss(right_student, right_student, batch(latents, 0, 0), conditions(latents))
    assert loss.isfinite()
    assert (method.skipped, method.seen) == (1, 200)
    with pytest.raises(DivergenceError, match="of 200 tangents are not finite"):
        make(teacher=lambda x, t, *rest: x * math.nan).loss(
            right_student, right_student, batch(latents, 0, 0), conditions(latents)
        )


def test_the_weighting_starts_even_and_learns_the_loss():
    weighting = LearnedWeighting()
    t = torch.linspace(0.05, 1.5, 200)
    assert (weighting(t) == 0).all()
    optimizer = torch.optim.Adam(weighting.parameters(), 1e-2)
    expected = 2.0 * t.tan().log().tanh()
    for _ in range(500):
        u = weighting(t)
        loss = (expected.exp() * (-u).exp() + u).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (weighting(t) - expected).abs().mean() < 0.1


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="derivative must be"):
        ScmConfig(derivative="autograd")
    with pytest.raises(ValueError, match="normalise must be"):
        ScmConfig(normalise="batch")
