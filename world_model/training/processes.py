"""The processes and devices that a run is spread over."""

from __future__ import annotations

import os

import torch

from world_model.errors import ConfigError


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks to the user."""
    return int(os.environ.get("RANK", 0)) == 0


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto``: this process's GPU, or the CPU.

    Raises:
        ConfigError: if there is no such device.
    """
    if name == "auto":
        local = int(os.environ.get("LOCAL_RANK", 0))
        name = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"there is no device {name!r} here: {error}") from error
    return device


def join_processes(device: torch.device) -> bool:
    """Joins the processes that ``accelerate launch`` or ``torchrun`` started, if there are any."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return False
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return True
