"""A step of the imagination as one CUDA graph: on a GPU, launching kernels takes most of its time.

A graph is captured for every shape that comes back often enough. It reads and writes buffers of
its own, to which the streams' state is copied before each replay, and from which it is copied
after it: a few copies, and in exchange states can be cloned, mixed and kept as anywhere else.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from world_model.errors import first_line
from world_model.rollout_state import PLAIN_FIELDS, RolloutState
from world_model.types import StepOutcome

Step = Callable[[RolloutState, Tensor], tuple[RolloutState, StepOutcome]]
"""The computation that is captured: as ``Rollout.advance``."""
Capture = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Runs a computation while capturing it; returns its result, and what runs it again in place."""

STEPS_BEFORE_CAPTURE = 8
"""Steps of one shape before a graph is captured for it: capturing costs about as many."""
MAX_GRAPHS = 6
"""Graphs that are kept; each holds a copy of the state and of all intermediate results."""

_capturing = threading.Lock()  # PyTorch can capture one graph at a time
_thread = threading.local()


@dataclass(frozen=True)
class _CapturedStep:
    """One step as a graph."""

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

    Under autocast, and on a CUDA stream of one's own, steps are taken as they are: a graph would
    not heed the one, and its buffers would be shared without waiting on the other.

    Args:
        device: of the rollout.
        capture: see :data:`Capture`; default: as a CUDA graph.
    """

    def __init__(self, device: torch.device, capture: Capture | None = None) -> None:
        self.device = device
        self._capture = capture or partial(capture_cuda_graph, device=device)
        self._captured: OrderedDict[Hashable, _CapturedStep] = OrderedDict()
        self._met: dict[Hashable, int] = {}
        self._lock = threading.Lock()
        self.failed = False
        """Whether capturing has failed: then every step is taken as it is."""

    @torch.no_grad()
    def advance(
        self, step: Step, state: RolloutState, actions: Tensor, weights: Hashable = None
    ) -> tuple[RolloutState, StepOutcome]:
        """As ``Rollout.advance``.

        Args:
            step: the step as it is; must not wait for the device.
            state: reused for the result.
            actions: float32 (B, K), on the device and checked.
            weights: says where the weights lie: a graph reads them there.
        """
        if self.failed or not self._usual():
            return step(state, actions)
        with self._lock:
            captured = self._find(step, state, actions, weights)
            if captured is None:
                return step(state, actions)
            _copy(captured.inputs, [*state.tensors(), actions])
            captured.replay()
            return _read(captured, state, actions)

    def _usual(self) -> bool:
        """Whether neither autocast nor a stream of the caller's own is on."""
        kind = self.device.type
        if torch.is_autocast_enabled(kind):
            return False
        if kind != "cuda":
            return True
        current = torch.cuda.current_stream(self.device)
        return current == torch.cuda.default_stream(self.device)

    def _find(
        self, step: Step, state: RolloutState, actions: Tensor, weights: Hashable
    ) -> _CapturedStep | None:
        """The graph for such a state; None where there is none (yet)."""
        shapes = tuple((tuple(part.shape), part.dtype) for part in [*state.tensors(), actions])
        key = (shapes, state.cache.unfilled == 0, weights)
        if key in self._captured:
            self._captured.move_to_end(key)
            return self._captured[key]
        self._met[key] = self._met.get(key, 0) + 1
        if self._met[key] < STEPS_BEFORE_CAPTURE or getattr(_thread, "only_replays", False):
            return None
        if len(self._captured) == MAX_GRAPHS:
            self._captured.popitem(last=False)
        self._met.clear()  # it would grow with every size that a batch has had
        try:
            self._captured[key] = self._make(step, state, actions)
        except RuntimeError as error:
            self.failed = True
            self._captured.clear()
            warnings.warn(
                "a step could not be captured as a CUDA graph, so steps are taken kernel by "
                f"kernel, which is slower ({first_line(error)}). cuda_graphs=False leaves the "
                "attempt out.",
                RuntimeWarning,
                stacklevel=4,
            )
            return None
        return self._captured[key]

    def _make(self, step: Step, state: RolloutState, actions: Tensor) -> _CapturedStep:
        with torch.inference_mode(False), torch.no_grad():
            given, taken = state.clone(), actions.clone()
            inputs = [*given.tensors(), taken]

            def computation() -> tuple[RolloutState, StepOutcome]:
                # A state of its own around the same tensors: the step replaces what it does not
                # write to.
                return step(given.shallow(), taken)

            (after, outcome), replay = self._capture(computation)
        return _CapturedStep(inputs, after.tensors(), outcome, replay)


@contextmanager
def only_replays() -> Iterator[None]:
    """Captures nothing in this thread meanwhile.

    Another thread that waits for the whole device would break a capture in a background thread.
    """
    _thread.only_replays = True
    try:
        yield
    finally:
        _thread.only_replays = False


def capture_cuda_graph(
    computation: Callable[[], Any],
    *,
    device: torch.device,
    generator: torch.Generator | None = None,
    pool: Any = None,
) -> tuple[Any, Callable[[], None]]:
    """See :data:`Capture`. The result is only there after the first replay.

    Args:
        computation: what to capture; it is run three times before.
        device: where.
        generator: where ``computation`` takes random numbers from, on the device.
        pool: memory of the graph, as ``torch.cuda.graph_pool_handle`` names it; None: its own.

    Raises:
        RuntimeError: if something in ``computation`` cannot be captured.
    """
    with _capturing, torch.cuda.device(device):
        before, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(before)
        with torch.cuda.stream(side):  # libraries set themselves up, the allocator meets all sizes
            for _ in range(3):
                computation()
        before.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        if generator is not None:
            graph.register_generator_state(generator)
        try:
            # Other threads may use the device meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                result = computation()
        finally:
            torch.cuda.set_stream(before)  # a capture that failed leaves its own stream current
    return result, graph.replay


def _read(
    captured: _CapturedStep, state: RolloutState, actions: Tensor
) -> tuple[RolloutState, StepOutcome]:
    """The results of a replay, in tensors that stay as they are."""
    rings = state.cache.tensors()
    _copy(rings, captured.outputs[: len(rings)])
    fresh = [part.clone() for part in captured.outputs[len(rings) :]]
    for name, value in zip(PLAIN_FIELDS, fresh, strict=True):
        setattr(state, name, value)
    state.action = actions
    return state, captured.outcome.map(torch.clone)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copies all tensors, those of one kind in one launch."""
    for dtype in {target.dtype for target in targets}:
        some = [i for i, target in enumerate(targets) if target.dtype == dtype]
        torch._foreach_copy_([targets[i] for i in some], [sources[i] for i in some])
