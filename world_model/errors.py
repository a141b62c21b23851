"""Errors of NFD-World: each says what was wrong, with the value, and what to do."""

from __future__ import annotations


class NFDError(Exception):
    """Base class of every error that NFD-World raises on purpose."""


class WorldNotFoundError(NFDError, FileNotFoundError):
    """No world has the given name, path or hub id."""


class WorldFormatError(NFDError, ValueError):
    """A world folder is incomplete, damaged, or of an unknown format version."""


class DataError(NFDError, ValueError):
    """A data set is empty, damaged, or does not fit what it is used for."""


class ActionError(NFDError, ValueError):
    """An action lies outside the action space, or has the wrong shape or type."""


class ContextError(NFDError, ValueError):
    """Frames or actions that should start an episode do not fit the world."""


class ConfigError(NFDError, ValueError):
    """A setting is unknown, out of range, or does not fit the others."""


class DivergenceError(NFDError, FloatingPointError):
    """Training produced numbers that are not finite."""


class CheckpointError(NFDError, ValueError):
    """A training checkpoint is missing, damaged, or of another run."""


class StorageError(NFDError, OSError):
    """Writing failed (a full disk, a read-only folder); nothing was left half-written."""


def first_line(error: Exception) -> str:
    """What an error says first, for a warning: PyTorch's go on for pages."""
    return next(iter(str(error).splitlines()), repr(error))
