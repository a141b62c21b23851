"""Films, pictures and paths that a player keeps: files with numbers, none written over."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from nfd_env.path_file import WorldPath
from world_model.provenance import Provenance, image_arguments
from world_model.storage import atomic_file
from world_model.video import Film, recording

PIXELS = 320
"""Frames are enlarged to about so many pixels."""


class Keeper:
    """Writes into a folder.

    Args:
        folder: where to; made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._film: Film | None = None
        self._open = ExitStack()
        self._file = Path()

    @property
    def filming(self) -> bool:
        """Whether a film is under way."""
        return self._film is not None

    @property
    def frames(self) -> int:
        """Pictures of the film that is under way."""
        return 0 if self._film is None else self._film.frames

    def start(self, fps: float, said: Provenance | None, frame: np.ndarray) -> None:
        """Begins a film with a frame, uint8 (H, W, 3)."""
        self._file = self._free(".mp4")
        film = recording(self._file, fps, scale=_scale(frame), provenance=said)
        self._film = self._open.enter_context(film)
        self._film.add(frame)

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame to the film, if one is under way.

        Raises:
            StorageError: if the disk is full; the film is given up.
        """
        if self._film is None:
            return
        try:
            self._film.add(frame)
        except OSError:
            self._film = None
            self._open.__exit__(*sys.exc_info())  # removes the file, and says why

    def stop(self) -> Path | None:
        """Ends the film, if one is under way; its file.

        Raises:
            StorageError: if it could not be written.
        """
        if self._film is None:
            return None
        self._film = None
        self._open.close()
        return self._file

    def picture(self, frame: np.ndarray, said: Provenance | None) -> Path:
        """Writes a PNG of a frame.

        Raises:
            StorageError: if it could not be written.
        """
        from PIL import Image

        file, scale = self._free(".png"), _scale(frame)
        large = frame.repeat(scale, axis=0).repeat(scale, axis=1)
        with atomic_file(file) as temporary:
            Image.fromarray(large).save(temporary, **image_arguments(said, ".png"))
        return file

    def path(self, path: WorldPath) -> Path:
        """Writes a path.

        Raises:
            StorageError: if it could not be written.
        """
        file = self._free(".json")
        path.save(file)
        return file

    def close(self) -> None:
        """Ends the film."""
        self.stop()

    def _free(self, suffix: str) -> Path:
        number = 1
        while (file := self.folder / f"play-{number:03d}{suffix}").exists():
            number += 1
        return file


def _scale(frame: np.ndarray) -> int:
    return max(1, round(PIXELS / frame.shape[1]))
