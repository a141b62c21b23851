"""What every test runs under: one thread, no network, no screen, caches that are thrown away."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# Before torch or numpy load: with several test workers, more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

_CACHES = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config: pytest.Config) -> None:
    # `datasets` reads this when it loads, which may be while tests are collected.
    folder = tempfile.TemporaryDirectory(prefix="nfd-tests-")
    config.stash[_CACHES] = folder
    os.environ["HF_HOME"] = folder.name
    os.environ["XDG_CACHE_HOME"] = folder.name


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_CACHES].cleanup()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree."""
    return Path(__file__).resolve().parent.parent
