from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.world_model.tiny import tiny_world
from world_model.distillation import trigflow
from world_model.distillation.adversarial import (
    AdversarialConfig,
    Adversary,
    _swapped,
    start_times,
)
from world_model.distillation.conditions import look_back
from world_model.distillation.method import LossBatch
from world_model.distillation.scm import ContinuousConsistency
from world_model.errors import ConfigError
from world_model.flow import FlowConfig

CONFIG = FlowConfig(loss="scm", own_fraction=0.0, context_noise_max=0.1)


@pytest.fixture(scope="module")
def setting():
    """Teacher, its flow, recorded tokens and what they follow."""
    world = tiny_world()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 3, 4, 192, generator=generator)
    actions = torch.arange(4.0)[:, None, None].repeat(1, 3, 1) % 3
    given = look_back(None, latents, actions, CONFIG, generator, previous=2)
    return world.network.requires_grad_(True), world.flow, latents, given


def losses(adversary, setting, made):
    _, _, latents, given = setting
    return adversary.losses(latents, made, given, torch.Generator().manual_seed(1))


def test_gradients_reach_student_and_heads_each_by_its_own_loss_and_never_the_teacher(setting):
    teacher, flow, latents, _ = setting
    adversary = Adversary(teacher, flow)
    made = (latents + 0.1).requires_grad_()
    deceive, tell = losses(adversary, setting, made)
    deceive.backward(retain_graph=True)
    assert made.grad.abs().sum() > 0
    assert all(p.grad is None for p in adversary.parameters())
    made.grad = None
    tell.backward()
    assert made.grad is None
    assert all(p.grad is not None for p in adversary.parameters())
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in adversary.parameters()}


def test_a_single_window_has_no_actions_to_swap(setting):
    teacher, flow, latents, given = setting
    one = replace(given, actions=given.actions[:1])
    with pytest.raises(ConfigError, match="two windows or more"):
        Adversary(teacher, flow).losses(latents[:1], latents[:1], one, torch.Generator())


def test_heads_sit_on_evenly_spaced_blocks(setting):
    teacher, flow, _, _ = setting
    assert Adversary(teacher, flow).places == [0, 1, 2]  # the tiny network has three
    assert Adversary(teacher, flow, AdversarialConfig(heads=1)).places == [2]
    assert Adversary(teacher, flow, AdversarialConfig(heads=2)).places == [1, 2]
    first, second = (Adversary(teacher, flow) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_heads_learn_to_tell_and_then_the_student_is_told_where_to_go(setting):
    teacher, flow, latents, _ = setting
    adversary = Adversary(teacher, flow)
    made = latents * 0.2  # too grey
    optimizer = torch.optim.Adam(adversary.parameters(), 1e-2)
    before = None
    for _ in range(60):
        _, tell = losses(adversary, setting, made)
        before = tell.item() if before is None else before
        optimizer.zero_grad()
        tell.backward()
        optimizer.step()
    assert tell.item() < 0.8 * before
    better, worse = (losses(adversary, setting, x)[0].item() for x in (latents, made))
    assert better < worse  # what looks real deceives


def test_swapped_actions_are_those_of_other_windows(setting):
    _, _, _, given = setting
    assert torch.equal(_swapped(given).actions[1], given.actions[0])
    assert torch.equal(_swapped(given).past, given.past)


def test_a_share_of_the_frames_starts_from_pure_noise():
    t = start_times(torch.ones(200, 50), 0.5, torch.Generator().manual_seed(0))
    at_noise = t == torch.tensor(trigflow.HALF_PI)
    assert 0.45 < at_noise.float().mean() < 0.55
    assert (t[~at_noise] == 1).all()


def test_with_scm_all_of_it_is_one_loss(setting):
    teacher, flow, latents, given = setting
    student = tiny_world(seed=2).network.requires_grad_(True)
    adversary = Adversary(teacher, flow)
    method = ContinuousConsistency(CONFIG, teacher, flow, adversary=adversary)
    batch = LossBatch(latents, given.actions, None, torch.Generator().manual_seed(0), 0)
    method.loss(student, student, batch, given).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        AdversarialConfig(heads=0)
