"""Training checkpoints: weights, their average, optimiser state; safetensors and JSON only."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    method: nn.Module | None = None
    """The method of few-step training, which may learn something too."""


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
        if learned := _method_parameters(state):
            save_tensors(_plain(learned), temporary / "method.safetensors")
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
        version, step, found = meta["format"], int(meta["step"]), dict(meta["settings"])
        model = load_file(folder / "model.safetensors")
        average = load_file(folder / "ema.safetensors")
        optimizer = load_file(folder / "optimizer.safetensors")
        learned = _method_parameters(state)
        method = load_file(folder / "method.safetensors") if learned else {}
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint {folder} cannot be read ({error!r}). Delete the folder to start anew."
        ) from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"the checkpoint {folder} has format {version!r}; this version reads "
            f"{FORMAT_VERSION}. Use another folder to start anew."
        )
    # JSON turns tuples into lists: compare what would be written.
    wanted = json.loads(json.dumps(settings))
    if found != wanted:
        raise CheckpointError(
            f"the checkpoint {folder} belongs to a run with other settings: "
            f"{', '.join(_differences(found, wanted))}. Use the same settings to continue, or "
            "another folder to start anew."
        )
    with torch.no_grad():
        for name, parameter in state.network.named_parameters():
            parameter.copy_(_take(model, name, parameter, folder))
        for name, parameter in learned.items():
            parameter.copy_(_take(method, name, parameter, folder))
        for name, weight in state.ema.weights.items():
            weight.copy_(_take(average, name, weight, folder))
    try:
        _restore_optimizers(state.optimizers, optimizer)
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"the optimiser state in {folder} does not fit the network: {error}. Delete the "
            "folder to start anew."
        ) from error
    state.step = step


def _method_parameters(state: TrainingState) -> dict[str, nn.Parameter]:
    return {} if state.method is None else dict(state.method.named_parameters())


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs, in words: ``train.seed is 0 there and 1 here``."""
    parts: list[str] = []
    for key in sorted(found.keys() | wanted.keys()):
        there, here = found.get(key), wanted.get(key)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            parts += [f"{key}.{part}" for part in _differences(there, here)]
        else:
            parts.append(f"{key} is {there!r} there and {here!r} here")
    return parts


def _take(tensors: dict[str, Tensor], name: str, like: Tensor, folder: Path) -> Tensor:
    if name not in tensors or tensors[name].shape != like.shape:
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        raise CheckpointError(
            f"the checkpoint {folder} does not fit the network: {name} should have shape "
            f"{tuple(like.shape)}, found {found}."
        )
    return tensors[name]


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if state.keys() != set(range(len(parameters))):
            raise ValueError(f"it has {len(state)} of {len(parameters)} parameters")
        for index, parameter in enumerate(parameters):
            for key, value in state[index].items():
                if value.ndim and value.shape != parameter.shape:
                    raise ValueError(f"{key} has shape {tuple(value.shape)}")
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
