"""A step's parts, compiled: on CPUs most of its time is small operations, on GPUs launching them.

``torch.compile`` makes one kernel of many of them. It takes its time for every shape that it
meets, so it is for long runs of one batch size, and only where it is asked for.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch

from world_model.errors import first_line
from world_model.network import NextFrameDiffusion
from world_model.noise import normals

MAX_SHAPES = 32
"""Variants that are compiled for one network: two for every batch size, one with a single step; as
many again where episodes begin with fewer frames than the window has."""


class CompiledParts:
    """The parts of a step, compiled for every shape they are called with; plain if one fails.

    Weights stay inputs of the compiled code, so a network that learns on, or another of the same
    configuration, is served by it as well.

    Args:
        network: whose pass it is.
        outcome: what a frame looks like, earns and ends: ``FrameOutcome.settle``.
    """

    def __init__(self, network: NextFrameDiffusion, outcome: Callable[..., Any]) -> None:
        self.network = network
        self.on_cpu = network.device.type == "cpu"
        """Whether what calls the kernels is compiled too; on a GPU that has not been tried."""
        self.failed = False
        """Whether compiling has failed: then every part is run as it is."""
        self._lock = threading.Lock()  # an environment that speculates steps in two threads
        self.stream = self._compile(network.stream)
        """As :meth:`NextFrameDiffusion.stream`."""
        self.modulation = self._compile(network.modulation)
        """As :meth:`NextFrameDiffusion.modulation`."""
        self.noise = self._compile(normals)
        """As :func:`world_model.noise.normals`."""
        self.outcome = self._compile(outcome)

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        limit: dict[str, Any] = {"recompile_limit": MAX_SHAPES}
        if "recompile_limit" not in inspect.signature(torch.compile).parameters:
            limit = {}  # PyTorch 2.8 has a fixed one of 8
        compiled = torch.compile(
            function,
            fullgraph=True,  # all or nothing: what fails has not written to the cache in part
            dynamic=False,
            options={"cpp_wrapper": self.on_cpu},  # what calls the kernels is compiled too
            **limit,
        )

        def call(*inputs: Any, **options: Any) -> Any:
            if self.failed:
                return function(*inputs, **options)
            try:
                with self._lock:
                    return compiled(*inputs, **options)
            except Exception as error:
                result = function(*inputs, **options)  # wrong input fails here too, and says so
                self._give_up(error)
                return result

        return call

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        warnings.warn(
            "steps could not be compiled, so they are taken as they are, which is slower "
            f"({type(error).__name__}: {first_line(error)}). compile=False leaves the attempt out.",
            RuntimeWarning,
            stacklevel=3,
        )
