"""Where the time of a step goes: stopwatches around the parts of an environment and its rollout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

PARTS = ("action", "network", "outcome", "noise", "pixels", "copy")
"""Encoding actions, the transformer, reward and end, noise, tokens to pixels and back, and bringing
frames and numbers to the host."""


class Stopwatches:
    """Seconds spent in each part; a part inside another one counts as the outer one's."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.passes: list[float] = []
        """Seconds of each pass of the transformer, one after the other."""
        self._synchronise = synchronise
        self._running = False

    def around(
        self, part: str, function: Callable[..., Any], *, is_pass: bool = False
    ) -> Callable[..., Any]:
        """``function`` with a stopwatch; ``is_pass`` where each call is one pass."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._running:
                return function(*args, **kwargs)
            self._running = True
            self._synchronise()
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._synchronise()
                seconds = time.perf_counter() - started
                self.seconds[part] += seconds
                if is_pass:
                    self.passes.append(seconds)
                self._running = False

        return timed

    def per_step(self, wall_seconds: float, steps: int) -> dict[str, float]:
        """Milliseconds of each part per step; ``python`` is what is left of the whole."""
        parts = {name: 1e3 * seconds / steps for name, seconds in self.seconds.items()}
        return {**parts, "python": max(0.0, 1e3 * wall_seconds / steps - sum(parts.values()))}

    def per_pass(self, steps: int) -> list[float]:
        """Milliseconds of the first, second, ... pass of a step, at the median."""
        count = len(self.passes) // steps
        return [1e3 * median(self.passes[i::count]) for i in range(count)]


@contextmanager
def time_parts(rollout: Any, device: str = "cpu", core: Any = None) -> Iterator[Stopwatches]:
    """Times the parts of every step that ``rollout`` takes inside the block.

    With ``core``, what an environment's core does around it has parts too: actions and copies.

    A rollout of another kind, such as an analytic one, has no parts: all is Python then. CUDA
    graphs are not replayed meanwhile: on a GPU the parts can add up to more than a step takes.
    Compiled, pixels are part of the outcome.
    """
    import torch

    from world_model import frame_outcome
    from world_model import rollout as module

    cuda = str(getattr(rollout, "device", device)).startswith("cuda")
    watches = Stopwatches(torch.cuda.synchronize if cuda else lambda: None)
    world = rollout.world
    places: list[tuple[Any, str, str]] = [
        # Of the class: a rollout in another precision runs copies of the world's modules.
        (type(world.network), "stream", "network"),
        (type(world.network), "modulation", "network"),
        (module.ModulationTable, "look_up", "network"),
        (world.outcome, "observe", "outcome"),
        (world.outcome, "termination_logits", "outcome"),
        (world.outcome, "reward", "outcome"),
        (type(world.tokenizer), "decode", "pixels"),
        (type(world.tokenizer), "encode", "pixels"),
        (module, "normal", "noise"),
        (module, "normals", "noise"),
        (module, "stream_keys", "noise"),
        (frame_outcome, "uniform", "noise"),
        (frame_outcome, "stream_keys", "noise"),
    ]
    replaced: list[tuple[Any, str, Any]] = []
    # A step that is replayed whole has no parts that a stopwatch could be put around.
    plain = getattr(rollout, "rollout", rollout)
    graphs = getattr(plain, "graphs", None)
    if getattr(plain, "compiled", None) is not None:  # compiled parts hold no stopwatch inside
        parts = {
            "stream": "network",
            "modulation": "network",
            "noise": "noise",
            "outcome": "outcome",
        }
        places = [(plain.compiled, name, part) for name, part in parts.items()]
        places.append((module.ModulationTable, "look_up", "network"))
    if core is not None:
        from nfd_env import core as core_module
        from nfd_env import core_step

        places += [
            (core.adapter, "encode", "action"),
            (core.adapter, "encode_batch", "action"),
            (core_module, "numbers_of", "copy"),
            (core_module, "to_numpy", "copy"),
            (core_step, "to_numpy", "copy"),
        ]
    try:
        if graphs is not None:
            plain.graphs = None
        for owner, name, part in places:
            if owner is None or not hasattr(owner, name):
                continue
            # A method found on an object's class is shadowed by an attribute, which goes again.
            replaced.append((owner, name, vars(owner).get(name)))
            timed = watches.around(part, getattr(owner, name), is_pass=name == "stream")
            setattr(owner, name, timed)
        yield watches
    finally:
        if graphs is not None:
            plain.graphs = graphs
        for owner, name, before in replaced:
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
