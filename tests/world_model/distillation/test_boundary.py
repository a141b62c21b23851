from __future__ import annotations

import torch

from world_model.distillation.boundary import REACH, anchored


def test_the_network_counts_where_there_is_noise_and_what_is_there_where_there_is_none():
    x, estimate = torch.zeros(1, 4, 2, 3), torch.ones(1, 4, 2, 3)
    t = torch.tensor([[0.0, REACH / 2, REACH, 1.0]])
    assert anchored(x, t, estimate)[0, :, 0, 0].tolist() == [0.0, 0.75, 1.0, 1.0]
