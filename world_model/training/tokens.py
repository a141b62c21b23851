"""Frames as tokens for training, encoded once: by the first process, while the others wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch

from world_model.autoencoder.cache import open_tokens, tokens_path
from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.data import EpisodeStore
from world_model.errors import ConfigError, StorageError
from world_model.precision import autocast
from world_model.tokenizer import FrameTokenizer
from world_model.training.console import progress_bar
from world_model.training.processes import is_first

BEAT = 5.0
"""Seconds between two signs of life of the process that encodes."""
PATIENCE = 300.0
"""Seconds without one after which the others give up; network disks show files a minute late."""


def cached_tokens(
    store: EpisodeStore, tokenizer: FrameTokenizer, *, device: torch.device | str, precision: str
) -> np.ndarray:
    """Every frame of a data set as tokens, out of the data set's cache.

    The first process encodes them if they are not there yet, and the others wait for the file: the
    folder of the data set must lie on a disk that all of them share. (A barrier of the processes
    would time out where there are hours of video to encode.)

    Args:
        store: recorded episodes.
        tokenizer: an autoencoder.
        device: where to encode.
        precision: number format to encode in, see :func:`world_model.precision.autocast`.

    Returns:
        As :func:`open_tokens`.

    Raises:
        ConfigError: if the tokenizer is no autoencoder.
        StorageError: if the cache cannot be written; or if this process waits for it, and the
            first one shows no sign of life for five minutes.
        DataError: if the cache is damaged.
    """
    if not isinstance(tokenizer, AutoencoderTokenizer):
        raise ConfigError("--cache-tokens is for an autoencoder: pixel patches cost nothing.")
    path = tokens_path(store, tokenizer)
    first = is_first()
    if not first:
        wait_for(path, beat=BEAT, patience=PATIENCE)
    with progress_bar(first) as progress, beating(path, BEAT, first and not path.exists()):
        task = progress.add_task("encoding frames", total=None, note="", visible=False)
        return open_tokens(
            store,
            tokenizer.to(device),
            autocast=partial(autocast, precision, torch.device(device)),
            progress=lambda done, total: progress.update(
                task, completed=done, total=total, visible=True
            ),
        )


@contextmanager
def beating(path: Path, beat: float, needed: bool = True) -> Iterator[None]:
    """Shows the processes that wait for ``path`` that this one is alive, while the block runs.

    Args:
        path: the file that they wait for.
        beat: seconds between two signs.
        needed: False: nothing is done.
    """
    if not needed:
        yield
        return
    sign, stop = _sign_of_life(path), threading.Event()

    def show() -> None:
        while not stop.wait(beat):
            with suppress(OSError):  # a full disk is for the writer to report
                sign.touch()

    with suppress(OSError):
        sign.parent.mkdir(parents=True, exist_ok=True)
        sign.touch()
    # A thread: neither a slow batch nor a slow disk shall look like death.
    thread = threading.Thread(target=show, name="sign-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(OSError):
            sign.unlink(missing_ok=True)


def wait_for(path: Path, *, beat: float, patience: float) -> None:
    """Waits until another process has made ``path``, for as long as it shows that it lives.

    Args:
        path: the file.
        beat: seconds between two looks.
        patience: seconds without a sign of life after which to give up.

    Raises:
        StorageError: if none is seen for so long.
    """
    sign = _sign_of_life(path)
    last, seen = _changed(sign), time.monotonic()
    while not path.exists():
        # Only whether the time stamp changes counts: clocks of machines differ.
        if (now := _changed(sign)) != last and now is not None:
            last, seen = now, time.monotonic()
        if time.monotonic() - seen > patience:
            raise StorageError(
                f"waited for {path}, but the first process has shown no sign of life for "
                f"{patience:.0f} seconds. Look for its error, and make sure that all processes "
                "see the same folder: it must lie on a disk that they share."
            )
        time.sleep(beat)


def _sign_of_life(path: Path) -> Path:
    return path.parent.with_name(f".{path.parent.name}.encoding")


def _changed(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
