"""A step of the imagination as one CUDA graph: on a GPU, launching kernels takes most of its time.

A graph is recorded for every shape that comes back often enough. It reads and writes buffers of
its own, to which the streams' state is copied before each replay, and from which it is copied
after it: a few copies, and in exchange states can be cloned, mixed and kept as anywhere else.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from world_model.rollout_state import RolloutState
from world_model.types import StepOutcome

Step = Callable[[RolloutState, Tensor], tuple[RolloutState, StepOutcome]]
"""The computation that is recorded: as ``Rollout.advance``."""
Record = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Runs a computation while recording it; returns its result, and what runs it again in place."""

PATIENCE = 8
"""Steps of one shape before a graph is recorded for it: recording costs about as many."""
MOST = 6
"""Graphs that are kept; each holds a copy of the state and of all intermediate results."""


@dataclass(frozen=True)
class _Recording:
    """One recorded step."""

    inputs: list[Tensor]
    """Tensors of the state, then the actions: what a replay reads."""
    outputs: list[Tensor]
    """Tensors of the state after the step: what a replay writes."""
    outcome: StepOutcome
    """What the step brought, in tensors that the next replay overwrites."""
    replay: Callable[[], None]
    """Runs the step again."""


class StepGraphs:
    """Takes steps by replaying them, where that can be done, and as they are elsewhere.

    Threads may share it: they take turns.

    Args:
        step: the plain step; must not wait for the device.
        record: see :data:`Record`; default: as a CUDA graph.
    """

    def __init__(self, step: Step, record: Record | None = None) -> None:
        self._step = step
        self._record = record or record_cuda_graph
        self._recordings: OrderedDict[Any, _Recording] = OrderedDict()
        self._met: dict[Any, int] = {}
        self._lock = threading.Lock()
        self.failed = False
        """Whether recording has failed: then every step is a plain one."""

    @torch.no_grad()
    def advance(self, state: RolloutState, actions: Tensor) -> tuple[RolloutState, StepOutcome]:
        """As ``Rollout.advance``; ``actions`` float32 (B, K), on the device and checked."""
        with self._lock:
            recording = self._recording_for(state, actions)
            if recording is None:
                return self._step(state, actions)
            _copy(recording.inputs, [*state.tensors(), actions])
            recording.replay()
            return _read(recording, state, actions)

    def _recording_for(self, state: RolloutState, actions: Tensor) -> _Recording | None:
        """The graph for such a state; None where there is none (yet)."""
        if self.failed:
            return None
        key = tuple((tuple(part.shape), part.dtype) for part in [*state.tensors(), actions])
        if key in self._recordings:
            self._recordings.move_to_end(key)
            return self._recordings[key]
        self._met[key] = self._met.get(key, 0) + 1
        if self._met[key] < PATIENCE:
            return None
        if len(self._recordings) == MOST:
            self._recordings.popitem(last=False)
        self._met.clear()  # it would grow with every size that a batch has had
        try:
            self._recordings[key] = self._make(state, actions)
        except RuntimeError as error:
            self.failed = True
            self._recordings.clear()
            warnings.warn(
                "a step could not be recorded as a CUDA graph, so steps are taken kernel by "
                f"kernel, which is slower ({str(error).splitlines()[0]}). "
                "cuda_graphs=False leaves the attempt out.",
                RuntimeWarning,
                stacklevel=4,
            )
            return None
        return self._recordings[key]

    def _make(self, state: RolloutState, actions: Tensor) -> _Recording:
        given, taken = state.clone(), actions.clone()
        inputs = [*given.tensors(), taken]

        def computation() -> tuple[RolloutState, StepOutcome]:
            # A state of its own around the same tensors: the step replaces what it does not write.
            return self._step(given.shallow(), taken)

        (after, outcome), replay = self._record(computation)
        return _Recording(inputs, after.tensors(), outcome, replay)


def record_cuda_graph(computation: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """See :data:`Record`. The result is only there after the first replay.

    Raises:
        RuntimeError: if something in ``computation`` cannot be recorded.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries set themselves up, the allocator meets every size
        for _ in range(3):
            computation()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the device meanwhile: an environment that computes ahead, for one.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = computation()
    return result, graph.replay


def _read(
    recording: _Recording, state: RolloutState, actions: Tensor
) -> tuple[RolloutState, StepOutcome]:
    """The results of a replay, in tensors that stay as they are."""
    cache = state.cache
    rings = [cache.keys, cache.values, cache.frames]
    _copy(rings, recording.outputs[: len(rings)])
    fresh = [part.clone() for part in recording.outputs[len(rings) :]]
    names = [field.name for field in fields(RolloutState) if field.name != "cache"]
    for name, value in zip(names, fresh, strict=True):
        setattr(state, name, value)
    state.action = actions
    values = {field.name: getattr(recording.outcome, field.name) for field in fields(StepOutcome)}
    return state, StepOutcome(**{name: value.clone() for name, value in values.items()})


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copies all tensors, those of one kind in one launch."""
    for dtype in {target.dtype for target in targets}:
        some = [i for i, target in enumerate(targets) if target.dtype == dtype]
        torch._foreach_copy_([targets[i] for i in some], [sources[i] for i in some])
