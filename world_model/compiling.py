"""Networks compiled: on CPUs most of a step's time is small operations, on GPUs their launches.

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

from world_model.autoencoder.tokenizer import AutoencoderTokenizer
from world_model.network import NextFrameDiffusion
from world_model.tokenizer import Tokenizer

MAX_SHAPES = 32
"""Variants that are compiled for one network: two for every batch size, one with a single step; as
many again where episodes begin with fewer frames than the window has."""


class Compiled:
    """A function, compiled for every shape it is called with; itself if that fails.

    Weights stay inputs of the compiled code, so a network that learns on, or another of the same
    configuration, is served by it as well.

    Args:
        function: what is compiled. It must not leave traces before it is done.
        name: what it is called in the warning that it could not be compiled.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self.failed = False
        """Whether compiling has failed: then the function is called as it is."""
        limit: dict[str, Any] = {"recompile_limit": MAX_SHAPES}
        if "recompile_limit" not in inspect.signature(torch.compile).parameters:
            limit = {}  # PyTorch 2.8 has a fixed one of 8
        self._compiled = torch.compile(
            function,
            fullgraph=True,  # all or nothing: what fails has not written to the cache in part
            dynamic=False,
            **limit,
        )
        self._lock = threading.Lock()  # an environment that speculates steps in two threads

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """As the function."""
        if self.failed:
            return self.function(*inputs, **options)
        try:
            with self._lock:
                return self._compiled(*inputs, **options)
        except Exception as error:
            # Wrong input fails here too, and says so.
            result = self.function(*inputs, **options)
            self.failed = True
            reason = next(iter(str(error).splitlines()), repr(error))
            warnings.warn(
                f"{self.name} could not be compiled, so it is run as it is, which is slower "
                f"({type(error).__name__}: {reason}). compile=False leaves the attempt out.",
                RuntimeWarning,
                stacklevel=2,
            )
            return result


class CompiledStream(Compiled):
    """``network.stream``, see :class:`Compiled`.

    Args:
        network: whose pass it is.
    """

    def __init__(self, network: NextFrameDiffusion) -> None:
        super().__init__(network.stream, "the transformer")
        self.network = network


def compiled_decoder(tokenizer: Tokenizer) -> Compiled | None:
    """The tokenizer's ``decode``, compiled if it is a network: elsewhere little is to be had."""
    if isinstance(tokenizer, AutoencoderTokenizer):
        return Compiled(tokenizer.decode, "the autoencoder's decoder")
    return None
