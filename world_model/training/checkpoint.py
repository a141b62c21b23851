"""Training checkpoints: weights, their average, optimiser state; safetensors and JSON only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from world_model.errors import CheckpointError
from world_model.storage import atomic_folder, save_tensors
from world_model.training.optimisation import EMA

FORMAT_VERSION = 1


@dataclass
class TrainingState:
    """All that changes while training."""

    network: nn.Module
    """The network being trained."""
    ema: EMA
    """Moving average of its weights."""
    optimizers: list[torch.optim.Optimizer]
    """Its optimisers."""
    step: int = 0
    """Optimiser steps done."""


def save_checkpoint(folder: Path, state: TrainingState, settings: dict[str, Any]) -> None:
    """Writes the checkpoint as a whole, replacing an older one.

    Args:
        folder: where the checkpoint goes.
        state: what to save.
        settings: JSON-able description of the run; a later run must match it to continue.

    Raises:
        StorageError: if the disk is full; the older checkpoint stays.
    """
    with atomic_folder(folder) as temporary:
        save_tensors(
            _plain(dict(state.network.named_parameters())), temporary / "model.safetensors"
        )
        save_tensors(_plain(state.ema.weights), temporary / "ema.safetensors")
        save_tensors(_optimizer_tensors(state.optimizers), temporary / "optimizer.safetensors")
        meta = {"format": FORMAT_VERSION, "step": state.step, "settings": settings}
        (temporary / "training.json").write_text(json.dumps(meta, indent=1))


def load_checkpoint(folder: Path, state: TrainingState, settings: dict[str, Any]) -> None:
    """Restores ``state`` in place.

    Raises:
        CheckpointError: if a file is missing or damaged, or the run had other settings.
    """
    try:
        meta = json.loads((folder / "training.json").read_text())
        model = load_file(folder / "model.safetensors")
        average = load_file(folder / "ema.safetensors")
        optimizer = load_file(folder / "optimizer.safetensors")
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint {folder} cannot be read ({error}). Delete the folder to start anew."
        ) from error
    if meta.get("format") != FORMAT_VERSION:
        raise CheckpointError(
            f"the checkpoint {folder} has format {meta.get('format')}; this version reads "
            f"{FORMAT_VERSION}."
        )
    # JSON turns tuples into lists: compare what would be written.
    wanted = json.loads(json.dumps(settings))
    if meta["settings"] != wanted:
        changed = [k for k in wanted if meta["settings"].get(k) != wanted[k]]
        raise CheckpointError(
            f"the checkpoint {folder} belongs to a run with other settings ({', '.join(changed)}: "
            f"{[meta['settings'].get(k) for k in changed]} there, {[wanted[k] for k in changed]} "
            "here). Use the same settings to continue, or another folder to start anew."
        )
    with torch.no_grad():
        for name, parameter in state.network.named_parameters():
            parameter.copy_(_take(model, name, parameter, folder))
        for name, weight in state.ema.weights.items():
            weight.copy_(_take(average, name, weight, folder))
    _restore_optimizers(state.optimizers, optimizer)
    state.step = int(meta["step"])


def _take(tensors: dict[str, Tensor], name: str, like: Tensor, folder: Path) -> Tensor:
    if name not in tensors or tensors[name].shape != like.shape:
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        raise CheckpointError(
            f"the checkpoint {folder} does not fit the network: {name} should have shape "
            f"{tuple(like.shape)}, found {found}."
        )
    return tensors[name]


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for number, optimizer in enumerate(optimizers):
        for parameter, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                flat[f"{number}.{parameter}.{key}"] = torch.as_tensor(value)
    return _plain(flat)


def _restore_optimizers(optimizers: list[torch.optim.Optimizer], flat: dict[str, Tensor]) -> None:
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in flat.items():
            owner, parameter, key = name.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(parameter), {})[key] = value
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
