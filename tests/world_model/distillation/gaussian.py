"""A toy whose every answer is known: numbers drawn from a normal distribution, one by one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from world_model.distillation.boundary import REACH
from world_model.distillation.conditions import Conditions
from world_model.distillation.method import LossBatch, Method
from world_model.flow import FlowConfig, add_noise

MEAN, STD = 0.7, 0.4
TEACHER = FlowConfig(loss="x", context_noise_max=0.0)
FLOW = FlowConfig(loss="scm", context_noise_max=0.0)


def data(count: int, seed: int) -> Tensor:
    """(count, 2, 4, 8): two frames of 32 numbers."""
    noise = torch.randn(count, 2, 4, 8, generator=torch.Generator().manual_seed(seed))
    return MEAN + STD * noise


def conditions(latents: Tensor) -> Conditions:
    """Nothing to look back at: every frame is drawn anew."""
    times = torch.zeros(latents.shape[:2])
    return Conditions(times[..., None], None, None, latents, times)


def batch(latents: Tensor, step: int, seed: int) -> LossBatch:
    actions = torch.zeros(*latents.shape[:2], 1)
    return LossBatch(latents, actions, None, torch.Generator().manual_seed(seed), step)


def posterior_mean(x: Tensor, t: Tensor, *rest: object) -> Tensor:
    """The perfect many-step network: the mean of the clean number given ``(1 - t) x_0 + t z``."""
    t = t[..., None, None]
    signal = 1 - t
    variance = (signal * STD) ** 2 + t**2
    return MEAN + signal * STD**2 / variance * (x - signal * MEAN)


def consistency_function(x: Tensor, t: Tensor, *rest: object) -> Tensor:
    """Where the probability flow through x at flow time t starts: the perfect one-step network."""
    t = t[..., None, None]
    signal = 1 - t
    return MEAN + STD * (x - signal * MEAN) / ((signal * STD) ** 2 + t**2).sqrt()


def right_student(x: Tensor, t: Tensor, *rest: object) -> Tensor:
    """A network whose answers, blended with x where there is little noise, are those."""
    far = 1 - (1 - t / REACH).clamp(min=0).square()
    return x + (consistency_function(x, t) - x) / far[..., None, None].clamp(min=1e-6)


class Student(nn.Module):
    """A small network that knows a number and its noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, x: Tensor, t: Tensor, *rest: object) -> Tensor:
        level = t[..., None, None].expand_as(x)
        return self.layers(torch.stack([x, level], dim=-1)).squeeze(-1)


def pupil(steps: int = 400) -> Student:
    """A student that has learned what the many-step network does, as every student begins."""
    torch.manual_seed(0)
    student = Student()
    optimizer = torch.optim.Adam(student.parameters(), 5e-3)
    for step in range(steps):
        latents, t = data(16, step), torch.rand(16, 2)
        x = add_noise(latents, torch.randn(latents.shape), t)
        loss = (student(x, t) - posterior_mean(x, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student


def distil(student: Student, method: Method, rate: float) -> Tensor:
    """Trains the student for a while; returns what it then makes of pure noise in one step."""
    optimizer = torch.optim.Adam([*student.parameters(), *method.parameters()], rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, 1000)
    for step in range(1000):
        latents = data(32, step)
        loss = method.loss(student, student, batch(latents, step, step), conditions(latents))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return student(torch.randn(4000, 1, 1, 1), torch.ones(4000, 1)).detach()
