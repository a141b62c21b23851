"""Stops on Ctrl-C and SIGTERM where stopping is safe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what cluster schedulers and container runtimes send before they kill."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt, just as SIGINT does."""
    with _handled_by(signal.default_int_handler):
        yield


@contextmanager
def stopping_between_steps() -> Iterator[Callable[[], None]]:
    """Yields a function to call between steps: it raises KeyboardInterrupt after a signal.

    A step that has begun is finished first, so that the state is whole. A second signal does not
    wait for that and raises KeyboardInterrupt wherever the program is.
    """
    wanted = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if wanted.is_set():
            raise KeyboardInterrupt
        wanted.set()

    def check() -> None:
        if wanted.is_set():
            raise KeyboardInterrupt

    with _handled_by(on_signal):
        yield check
        check()


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
