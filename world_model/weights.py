"""Weights and other files of a folder: named by hash, read back with one clear error."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from world_model.errors import WorldFormatError
from world_model.storage import file_hash

ROW_SCALE = ".row_scale"
"""What the name of a matrix in 8 bits is followed by, for the scale of each of its rows."""


def stored_weights(module: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The weights of a module as they are written, on the CPU and in ``dtype`` (None: as is).

    With int8 it is matrices that are written in 8 bits, each row with a scale of its own, so that
    its largest number becomes 127; all else, scales too, as float16.
    """
    found = module.state_dict().items()
    weights = {name: tensor.detach().to("cpu").contiguous() for name, tensor in found}
    if dtype != torch.int8:
        return {name: tensor.to(dtype) for name, tensor in weights.items()}
    stored: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.ndim == 2:
            largest = tensor.float().abs().amax(dim=1, keepdim=True)
            # Rounded as it is stored; the smallest is a normal float16, so rows may be all zero.
            scale = (largest / 127).half().clamp_min(torch.finfo(torch.float16).tiny)
            stored[name] = (tensor / scale.float()).round().clamp(-127, 127).to(torch.int8)
            stored[name + ROW_SCALE] = scale
        else:
            stored[name] = tensor.half()
    return stored


def _restored(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name; matrices in 8 bits multiplied by their scales."""
    scales = {name: weights.pop(name) for name in list(weights) if name.endswith(ROW_SCALE)}
    for name, scale in scales.items():
        matrix = name.removesuffix(ROW_SCALE)
        weights[matrix] = weights[matrix].float() * scale.float()
    return weights


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by name."""
    return {file.name: file_hash(file) for file in sorted(folder.iterdir())}


def verify_file(path: Path, expected: str) -> None:
    """Checks a file against its SHA-256.

    Raises:
        WorldFormatError: if it is missing, damaged, or cannot be read.
    """
    if not path.is_file():
        raise WorldFormatError(f"{path} is missing. Download or save it anew.")
    try:
        found = file_hash(path)
    except OSError as error:
        raise WorldFormatError(f"{path} cannot be read ({error}).") from error
    if found != expected:
        raise WorldFormatError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., the config says "
            f"{expected[:12]}.... Download or save it anew."
        )


def load_weights(module: nn.Module, path: Path) -> None:
    """Fills a module with the weights of a safetensors file.

    Raises:
        WorldFormatError: if the file cannot be read, or does not fit the module.
    """
    try:
        weights = _restored(load_file(path))
    except (OSError, SafetensorError, KeyError) as error:
        raise WorldFormatError(
            f"{path} cannot be read ({error}). Download or save it anew."
        ) from error
    try:
        module.load_state_dict(weights)  # copies, so float16 on disk becomes float32
    except RuntimeError as error:
        raise WorldFormatError(
            f"the weights in {path} do not fit the config: {error}. Download or save it anew."
        ) from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        WorldFormatError: if it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorldFormatError(
            f"{path} cannot be read ({error}). Download or save it anew."
        ) from error
