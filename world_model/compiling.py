"""The transformer's pass, compiled: on CPUs most of a step's time is small operations.

``torch.compile`` makes one kernel of many of them. It takes its time for every shape that it
meets, so it is for long runs of one batch size, and only where it is asked for.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from typing import Any

import torch
from torch import Tensor

from world_model.network import NextFrameDiffusion

MAX_SHAPES = 32
"""Variants that are compiled for one network: two for every batch size, one with a single step; as
many again where episodes begin with fewer frames than the window has."""


class CompiledStream:
    """``network.stream``, compiled for every shape it is called with; the plain one if that fails.

    The weights stay inputs of the compiled code, so a network that learns on, or another of the
    same configuration, is served by it as well.

    Args:
        network: whose pass it is.
    """

    def __init__(self, network: NextFrameDiffusion) -> None:
        self.network = network
        self.failed = False
        """Whether compiling has failed: then every pass is taken as it is."""
        limit: dict[str, Any] = {"recompile_limit": MAX_SHAPES}
        if "recompile_limit" not in inspect.signature(torch.compile).parameters:
            limit = {}  # PyTorch 2.8 has a fixed one of 8
        self._compiled = torch.compile(
            network.stream,
            fullgraph=True,  # all or nothing: what fails has not written to the cache in part
            dynamic=False,
            **limit,
        )
        self._lock = threading.Lock()  # an environment that speculates steps in two threads

    def __call__(self, *inputs: Any, **options: Any) -> Tensor | None:
        """As :meth:`NextFrameDiffusion.stream`."""
        if self.failed:
            return self.network.stream(*inputs, **options)
        try:
            with self._lock:
                return self._compiled(*inputs, **options)
        except Exception as error:
            # Wrong input fails here too, and says so.
            result = self.network.stream(*inputs, **options)
            self.failed = True
            reason = next(iter(str(error).splitlines()), repr(error))
            warnings.warn(
                "the transformer could not be compiled, so its passes are taken as they are, "
                f"which is slower ({type(error).__name__}: {reason}). compile=False leaves the "
                "attempt out.",
                RuntimeWarning,
                stacklevel=2,
            )
            return result
