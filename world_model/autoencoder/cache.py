"""A data set's frames as tokens, encoded once: an autoencoder costs more than the transformer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.data import EpisodeStore
from world_model.errors import DataError
from world_model.storage import atomic_folder

BATCH = 64
"""Frames between two reports of progress."""


def open_tokens(
    store: EpisodeStore,
    tokenizer: AutoencoderTokenizer,
    *,
    autocast: Callable[[], torch.autocast],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """All frames of a data set as tokens; the first time, they are encoded into its cache.

    Args:
        store: recorded episodes.
        tokenizer: on the device to encode on. Another one, or one that was trained further, gets a
            cache of its own.
        autocast: makes the number format to encode in.
        progress: called with (frames encoded, frames in all).

    Returns:
        float16 (rows, num_tokens, token_dim), memory-mapped and read-only; row i is frame i of
        ``store.frames``.

    Raises:
        StorageError: if the cache cannot be written.
        DataError: if it is damaged.
    """
    path = tokens_path(store, tokenizer)
    folder = path.parent
    rows = store.num_frames
    shape = (rows, tokenizer.grid[0] * tokenizer.grid[1], tokenizer.token_dim)
    if not path.exists():
        device = tokenizer.latent_mean.device
        # Plain writes rather than a writable memory map: on a full disk a map kills the process.
        with atomic_folder(folder) as temporary, open(temporary / path.name, "wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, rows, BATCH):
                frames = torch.from_numpy(np.array(store.frames[start : start + BATCH]))
                with autocast():
                    tokens = tokenizer.encode(frames.to(device))
                file.write(tokens.cpu().numpy().astype("<f2").data)
                progress(min(start + BATCH, rows), rows)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.shape != shape:
            raise ValueError(f"its shape is {found.shape}, not {shape}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}. Delete {folder} to build it anew.") from error
    return found


def tokens_path(store: EpisodeStore, tokenizer: AutoencoderTokenizer) -> Path:
    """Where the tokens of a data set lie, once they have all been encoded."""
    return store.cache / f"tokens-{_key(tokenizer)}" / "tokens.npy"


def _key(tokenizer: AutoencoderTokenizer) -> str:
    """Name of a tokenizer's weights and scale, 16 hex digits."""
    digest = hashlib.sha256(json.dumps(tokenizer.to_dict(), sort_keys=True).encode())
    for name, weight in tokenizer.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
