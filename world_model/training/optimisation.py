"""Optimisers, learning-rate schedule and the moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from world_model.training.config import TrainConfig
from world_model.training.muon import BatchedMuon

HIDDEN_MATRICES = (
    "qkv.weight",
    "project.weight",
    "mlp.project_in.weight",
    "mlp.project_out.weight",
)


def build_optimizers(
    network: nn.Module, config: TrainConfig, method: nn.Module | None = None
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices inside the blocks where the config says so.

    Muon's update is scaled to AdamW's root mean square, so both share one learning rate. What a
    ``method`` has to learn is AdamW's.
    """
    hidden, matrices, others = [], [], []
    for name, parameter in network.named_parameters():
        if config.optimizer == "muon" and name.endswith(HIDDEN_MATRICES):
            hidden.append(parameter)
        elif parameter.ndim >= 2:
            matrices.append(parameter)
        else:
            others.append(parameter)
    if method is not None:
        others += method.parameters()
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
    ]
    if hidden:
        rate, decay = config.learning_rate, config.weight_decay
        muon: torch.optim.Optimizer
        if hidden[0].device.type == "cuda":  # where launching many kernels binds
            muon = BatchedMuon(hidden, lr=rate, weight_decay=decay)
        else:
            muon = torch.optim.Muon(
                hidden, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )
        optimizers.append(muon)
    return optimizers


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, plateau, linear decay to zero: a run can be extended from its plateau."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay_steps = max(1, round(config.steps * config.decay_fraction))
    decay = min(1.0, (config.steps - step) / decay_steps)
    return config.learning_rate * min(warmup, decay)


class EMA:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {
            name: parameter.detach().clone() for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """One step; early on the average is shorter, so that it forgets the initialisation."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = []
        current: list[Tensor] = []
        for name, parameter in module.named_parameters():
            averages.append(self.weights[name])
            current.append(parameter.detach())
        torch._foreach_lerp_(averages, current, 1 - decay)
