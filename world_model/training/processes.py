"""The processes and devices that a run is spread over."""

from __future__ import annotations

import os
import time

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


def advice() -> str | None:
    """What to tell someone who asked ``accelerate`` for several processes and got one."""
    asked = "MASTER_PORT" in os.environ and os.environ.get("ACCELERATE_USE_CPU") == "True"
    if not asked or "WORLD_SIZE" in os.environ:
        return None
    return (
        "'accelerate launch --cpu' starts one process only. For several, on CPUs too: "
        "'accelerate launch --multi_gpu --num_processes N'."
    )


def leave_processes(*, together: bool) -> None:
    """Takes the group of processes down.

    Args:
        together: whether all processes come here; False after an error, when the others may be
            gone.
    """
    if together:
        torch.distributed.barrier()  # or the first to leave cuts off what others still receive
    # Gloo's threads need Python's lock to let go of their last tensors. When the group goes first,
    # this thread waits for them holding that lock, and both wait forever.
    time.sleep(0.5)
    torch.distributed.destroy_process_group()
