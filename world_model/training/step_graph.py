"""Loss and gradient of a training step as one CUDA graph: launching kernels binds small networks.

A step of a network of a few million numbers launches thousands of kernels, most of which take the
CPU longer than the GPU. So a few steps are taken as they are; then one is captured, forward and
backward pass together, and all later steps replay it on data of their own.

A replayed step is to equal a plain one:

* Its data are copied to where the graph reads them.
* Its random numbers come from a generator that is registered with the graph. Each replay begins by
  writing the generator's seed and offset to where the kernels read them, and ``manual_seed`` sets
  the one and puts the other to 0, as in a new generator. PyTorch promises "graphed execution is
  bitwise identical to eager execution" (Note [CUDA Graph-safe RNG states] in ATen's
  ``CUDAGeneratorImpl.h``), so both draw the same numbers.
* Its gradients lie in the graph's memory, where the optimisers find them: every replay makes them
  the parameters' ``grad`` again.
* Autocast caches nothing (:func:`world_model.precision.autocast`): a cast weight that was kept from
  before the capture would never change again.

Whether it does is looked at once: the first replay, of another step than the captured one, is
compared with that step taken plainly. Where that or capturing fails, all steps are taken plainly,
and the step that it failed in loses nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from world_model.errors import first_line
from world_model.step_graphs import capture_cuda_graph

Inputs = Sequence[Tensor | None]
"""A step's data, on the device."""
Loss = Callable[[Inputs, torch.Generator], Tensor]
"""A step's loss, a scalar, from its data and random numbers alone."""
Gradient = tuple[Tensor, list[Tensor | None]]
"""A step's loss, without history, and the gradient of each parameter."""
Capture = Callable[[Callable[[], Gradient], torch.Generator], tuple[Gradient, Callable[[], Any]]]
"""Runs a computation while capturing it; returns its result, and what runs it again in place."""

PLAIN_STEPS = 3
"""Steps before one is captured."""
TOLERANCE = 0.01
"""Relative difference that a replayed step may have from a plain one: sums in another order. Other
random numbers or data make one of the order of 1."""


def gradient(
    loss: Loss, inputs: Inputs, parameters: Sequence[nn.Parameter], generator: torch.Generator
) -> Gradient:
    """A step taken plainly: its loss, and its gradient, which is also left in the parameters."""
    for parameter in parameters:
        parameter.grad = None
    value = loss(inputs, generator)
    value.backward()
    return value.detach(), [parameter.grad for parameter in parameters]


@dataclass
class _CapturedStep:
    """One step as a graph."""

    inputs: Inputs
    """What a replay reads."""
    generator: torch.Generator
    """Where a replay takes its random numbers from."""
    result: Gradient
    """What a replay writes."""
    replay: Callable[[], Any]
    """Runs the step again."""
    checked: bool = False
    """Whether a replay was found to equal the step taken plainly."""

    def fits(self, inputs: Inputs) -> bool:
        """Whether a step's data are like those of the captured one."""
        return [_kind(part) for part in self.inputs] == [_kind(part) for part in inputs]

    def run(self, inputs: Inputs, seed: int) -> Gradient:
        """The result for other data and random numbers; the next call overwrites it."""
        for target, source in zip(self.inputs, inputs, strict=True):
            if target is not None and source is not None:
                target.copy_(source)
        self.generator.manual_seed(seed)
        self.replay()
        return self.result


class StepGraph:
    """Computes the gradients of training steps, by replaying one of them where that can be done.

    The loss must do the same in every step, but for its data and random numbers: what else it reads
    is read once, when it is captured. It must not wait for the device.

    Args:
        device: of the training.
        capture: see :data:`Capture`; default: as a CUDA graph.
    """

    def __init__(self, device: torch.device, capture: Capture | None = None) -> None:
        self.device = device
        self.failed = False
        """Whether capturing has failed: then every step is taken plainly."""
        self.replayed = 0
        """Steps that were replayed."""
        self._capture = capture or partial(_capture_cuda_graph, device=device)
        self._captured: _CapturedStep | None = None
        self._plain_steps = 0

    def __call__(
        self, loss: Loss, inputs: Inputs, parameters: Sequence[nn.Parameter], seed: int
    ) -> Tensor:
        """The loss of a step; its gradient is left in the parameters.

        Args:
            loss: the same computation in every call.
            inputs: the step's data.
            parameters: all that the loss has a gradient for, the same ones in every call.
            seed: of the step's random numbers.
        """
        plainly = partial(self._plainly, loss, inputs, parameters, seed)
        if self.failed:
            return plainly()[0]
        if self._captured is None:
            if self._plain_steps < PLAIN_STEPS:
                self._plain_steps += 1
            else:
                self._captured = self._make(loss, inputs, parameters)
            return plainly()[0]
        if not self._captured.fits(inputs):
            return plainly()[0]
        if not self._captured.checked:
            return self._check(plainly, inputs, seed)
        value, gradients = self._captured.run(inputs, seed)
        for parameter, part in zip(parameters, gradients, strict=True):
            parameter.grad = part
        self.replayed += 1
        return value

    def release(self) -> None:
        """Gives back the graph's memory; the next step, if there is one, captures it anew."""
        self._captured = None

    def _plainly(
        self, loss: Loss, inputs: Inputs, parameters: Sequence[nn.Parameter], seed: int
    ) -> Gradient:
        return gradient(loss, inputs, parameters, _generator(self.device, seed))

    def _make(
        self, loss: Loss, inputs: Inputs, parameters: Sequence[nn.Parameter]
    ) -> _CapturedStep | None:
        """The graph of a step; None if it fails. Results are only there after the first replay."""
        static = [None if part is None else part.clone() for part in inputs]
        generator = _generator(self.device, 0)
        try:
            result, replay = self._capture(
                partial(gradient, loss, static, parameters, generator), generator
            )
        except Exception as error:  # what is wrong with the step itself shows when it is taken
            self._give_up(f"could not be captured as a CUDA graph ({first_line(error)})")
            return None
        return _CapturedStep(static, generator, result, replay)

    def _check(self, plainly: Callable[[], Gradient], inputs: Inputs, seed: int) -> Tensor:
        """Takes a step plainly, and looks whether replaying it gives the same."""
        assert self._captured is not None
        found: Gradient | None = None
        expected: Gradient | None = None
        try:
            found = self._captured.run(inputs, seed)
            expected = plainly()
            difference = _difference(found, expected)
            self._captured.checked = difference <= TOLERANCE
            problem = f"came out differently as a CUDA graph (by {difference:.1%})"
        except Exception as error:
            problem = f"could not be replayed as a CUDA graph ({first_line(error)})"
        found = None  # both ways need memory, which a step that is taken again must not lack
        if not self._captured.checked:
            self._give_up(problem)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return (expected or plainly())[0]

    def _give_up(self, what: str) -> None:
        self.failed, self._captured = True, None
        warnings.warn(
            f"a training step {what}, so steps are taken kernel by kernel, which is slower. "
            "graphs=False (--no-graphs) leaves the attempt out.",
            RuntimeWarning,
            stacklevel=2,
        )


def _capture_cuda_graph(
    computation: Callable[[], Gradient], generator: torch.Generator, *, device: torch.device
) -> tuple[Gradient, Callable[[], Any]]:
    """See :data:`Capture`."""
    pool = torch.cuda.graph_pool_handle()
    try:
        return capture_cuda_graph(computation, device=device, generator=generator, pool=pool)
    except Exception:
        _tidy_up(device, pool)
        raise


def _tidy_up(device: torch.device, pool: Any) -> None:
    """Ends what a capture that failed leaves open, for PyTorch stops tidying at the first error.

    The allocator would go on to look for its kernels, and with PyTorch before 2.13 the device's own
    generator, which dropout draws from, would refuse to work.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    with suppress(Exception):  # where nothing is left open
        torch._C._cuda_endAllocateToPool(index, pool)
    with suppress(Exception):
        theirs = torch.cuda.default_generators[index]
        fresh = torch.Generator(torch.device("cuda", index))
        fresh.set_state(theirs.get_state())
        theirs.graphsafe_set_state(fresh)


def _difference(found: Gradient, expected: Gradient) -> float:
    """The larger relative difference, of the losses and of the whole gradients; NaN if one is."""
    pairs = list(zip(found[1], expected[1], strict=True))
    if any((a is None) != (b is None) for a, b in pairs):
        return float("inf")
    ours = [a for a, _ in pairs if a is not None]
    theirs = [b for _, b in pairs if b is not None]
    apart = nn.utils.get_total_norm(torch._foreach_sub(ours, theirs))
    size = nn.utils.get_total_norm(theirs)
    losses = (found[0] - expected[0]).abs() / expected[0].abs().clamp(min=1e-6)
    return torch.maximum(losses.float(), (apart / size.clamp(min=1e-12)).float()).item()


def _kind(part: Tensor | None) -> tuple[Any, ...] | None:
    return None if part is None else (part.shape, part.dtype, part.device)


def _generator(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)
