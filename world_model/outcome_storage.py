"""An outcome model as a folder: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from world_model.action_spec import ActionSpec
from world_model.errors import WorldFormatError, WorldNotFoundError
from world_model.outcome import OutcomeModel
from world_model.outcome_config import OutcomeConfig
from world_model.storage import atomic_folder, save_tensors
from world_model.weights import stored_weights

FORMAT_VERSION = 1


def save_outcome(
    model: OutcomeModel, folder: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Writes ``model`` with its calibration, its weights in ``dtype``.

    Raises:
        StorageError: if the folder cannot be written; nothing is left half-written.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "outcome": model.config.to_dict(),
        "action_spec": model.action_spec.to_dict(),
    }
    with atomic_folder(folder) as temporary:
        (temporary / "config.json").write_text(json.dumps(description, indent=1))
        save_tensors(stored_weights(model, dtype), temporary / "model.safetensors")


def load_outcome(folder: str | Path) -> OutcomeModel:
    """The model that :func:`save_outcome` wrote, ready to predict.

    Raises:
        WorldNotFoundError: if a file is missing.
        WorldFormatError: if a file is damaged, or written by a newer version.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise WorldNotFoundError(f"{folder} holds no outcome model: {name} is missing.")
    try:
        description = json.loads((folder / "config.json").read_text())
        version = description["format_version"]
        if version != FORMAT_VERSION:
            raise WorldFormatError(
                f"the outcome model in {folder} has format version {version}; this version of "
                f"NFD-World reads {FORMAT_VERSION}. Update NFD-World."
            )
        config = OutcomeConfig.from_dict(description["outcome"])
        model = OutcomeModel(config, ActionSpec.from_dict(description["action_spec"]))
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except WorldFormatError:
        raise
    except Exception as error:
        raise WorldFormatError(
            f"the outcome model in {folder} is damaged: {error}. Train or download it again."
        ) from error
    return model.eval()
