"""Which number format matrix products run in."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_precision(precision: str, device: torch.device | str) -> torch.dtype:
    """The dtype for ``precision`` on ``device``.

    ``auto`` is bfloat16 where the hardware has instructions for it, float32 elsewhere: on other
    processors bfloat16 is several times slower.

    Raises:
        ValueError: if ``precision`` is not one of :data:`PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, not {precision!r}.")
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    device = torch.device(device)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def autocast(precision: str, device: torch.device | str) -> torch.autocast:
    """Matrix products in ``precision`` on ``device``, in a ``with`` block.

    Nothing is cached: passes without gradients come first in a training step, and their casts must
    not serve those with.

    Raises:
        ValueError: as :func:`choose_precision`.
    """
    device, dtype = torch.device(device), choose_precision(precision, device)
    return torch.autocast(device.type, dtype, dtype != torch.float32, cache_enabled=False)
