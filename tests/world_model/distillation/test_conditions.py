from __future__ import annotations

import torch

from world_model.distillation import conditions
from world_model.distillation.conditions import look_back
from world_model.flow import FlowConfig

CLEAN = FlowConfig(loss="energy", context_noise_max=0.0)


def draw(config=CLEAN, previous=2, **generator):
    latents = torch.arange(4.0)[None, :, None, None].repeat(2, 1, 4, 6)  # frame i is all i
    return look_back(
        None, latents, torch.zeros(2, 4, 1), config, torch.Generator(), previous=previous
    )  # fmt: skip


def test_everything_looked_back_at_is_the_history(monkeypatch):
    """Previous frames and attention alike."""
    monkeypatch.setattr(conditions, "history_of", lambda model, latents, *rest: latents + 10)
    drawn = draw()
    assert (drawn.past[:, 3] == 13).all()
    assert (drawn.previous[:, 3, :, :6] == 12).all()
    assert (drawn.previous[:, 3, :, 6:] == 11).all()
    assert (drawn.previous[:, 0] == 0).all()
    assert drawn.first == 1  # nothing can be made of a first frame


def test_without_previous_frames_a_first_frame_can_be_made():
    drawn = draw(previous=0)
    assert drawn.previous is None
    assert drawn.first == 0


def test_noise_levels_are_those_of_the_noise():
    drawn = draw(FlowConfig(loss="energy", context_noise_max=0.5))
    assert 0 < drawn.past_t.max() <= 0.5
    assert (drawn.previous_t[:, 0] == 1).all()
    assert 0 < drawn.previous_t[:, 1:].max() <= 0.5
    by_level = (drawn.past[..., 0, 0] - torch.arange(4.0) * (1 - drawn.past_t)).abs()
    assert torch.equal(by_level == 0, drawn.past_t == 0)


def test_versions_share_what_they_look_back_at():
    """A network that answers nothing repeats the frame before, in every version."""
    seen = []

    def network(x_t, t, actions, previous, previous_t, past, past_t):
        seen.append((len(x_t), len(actions), len(previous), len(previous_t), len(past)))
        return torch.zeros_like(x_t)

    twice = draw().repeat(2)
    x0 = twice.estimate(network, torch.randn(4, 4, 4, 6), torch.ones(4, 4), CLEAN)
    assert seen == [(4, 4, 4, 4, 2)]
    assert (x0[:, 3] == 2).all()
