"""What every training does: steps of the optimisers, checkpoints, going on where it stopped."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from world_model.errors import ConfigError, DivergenceError
from world_model.precision import autocast
from world_model.storage import recover_folder
from world_model.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from world_model.training.config import TrainConfig
from world_model.training.optimisation import learning_rate
from world_model.training.step_graph import Loss, StepGraph, gradient

FREE_TO_CHANGE = ("log_every", "save_every", "sample_every", "compile", "graphs", "steps")
"""Settings that may differ when a run is continued."""


@dataclass(frozen=True)
class StepReport:
    """What one training step tells."""

    step: int
    """Steps done, this one included."""
    loss: float
    """Training loss, averaged over the processes."""
    learning_rate: float
    """Learning rate of the step."""
    gradient_norm: float
    """Norm of the gradient before clipping."""


class TrainingLoop(ABC):
    """Trains a network and can be stopped and continued at any step.

    A subclass sets ``state`` and ``settings``, calls :meth:`restore`, and takes its steps in
    ``train_step``, by :meth:`gradient` and :meth:`update`. Random numbers of a step are functions
    of (seed, step, process): then a run that was killed and continued equals one that was not.

    Args:
        config: length and speed.
        folder: where checkpoints go; continued from if there is one.
        device: where to train.

    Raises:
        ConfigError: if the batch does not divide among the processes.
    """

    state: TrainingState
    """All that changes while training."""
    settings: dict[str, Any]
    """JSON-able description of the run; a later run must match it to continue."""
    loss_name: str
    """What the loss is called in the note of what a run took."""

    def __init__(self, config: TrainConfig, folder: Path, device: torch.device | str) -> None:
        self.config, self.folder, self.device = config, folder, torch.device(device)
        self.rank = int(os.environ.get("RANK", 0))
        self.world_size = int(os.environ.get("WORLD_SIZE", 1))
        if config.batch_size % self.world_size:
            raise ConfigError(
                f"batch_size {config.batch_size} does not divide among {self.world_size} "
                "processes. Choose a multiple."
            )
        self.step_graph: StepGraph | None = None
        """Replays steps, where their loss allows it; a subclass whose loss does not puts it to
        None."""
        if (
            config.graphs
            and self.device.type == "cuda"
            and not config.compile
            and self.world_size == 1
        ):
            self.step_graph = StepGraph(self.device)
        self._half_done = False

    @abstractmethod
    def train_step(self) -> StepReport:
        """One optimiser step."""

    def run(self) -> Generator[StepReport, None, None]:
        """Trains to the last step, yielding after each one; saves when due and when closed."""
        saved_at = self.state.step
        try:
            while self.state.step < self.config.steps:
                yield self.train_step()
                if self.state.step % self.config.save_every == 0:
                    self.save()
                    saved_at = self.state.step
        finally:
            # An interrupted update is no state that a run can continue from.
            if self.state.step != saved_at and not self._half_done:
                self.save()
            if self.step_graph is not None:  # what comes next may need its memory
                self.step_graph.release()
                self.state.network.zero_grad(set_to_none=True)

    def step_seed(self) -> int:
        """Seed of the random numbers of this step and process."""
        return (self.config.seed * 1_000_003 + self.state.step) * 1_009 + self.rank

    def autocast(self) -> torch.autocast:
        """Matrix products in the run's precision."""
        return autocast(self.config.precision, self.device)

    def gradient(self, loss: Loss, *inputs: Tensor | None) -> Tensor:
        """The loss of this step, a scalar; its gradient is left in the parameters.

        Args:
            loss: see :class:`~world_model.training.step_graph.StepGraph` for what it may do where
                :attr:`step_graph` is not None.
            inputs: the step's data, on the device.
        """
        method, seed = self.state.method, self.step_seed()
        modules = [self.state.network] if method is None else [self.state.network, method]
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        if self.step_graph is not None:
            return self.step_graph(loss, inputs, parameters, seed)
        generator = torch.Generator(self.device).manual_seed(seed)
        return gradient(loss, inputs, parameters, generator)[0]

    def update(self, loss: Tensor) -> StepReport:
        """Follows the gradient in the parameters by one step of the optimisers.

        Args:
            loss: what :meth:`gradient` returned.

        Raises:
            DivergenceError: if the gradient is not finite; the weights are left as they were.
        """
        step, network = self.state.step, self.state.network
        rate = learning_rate(step, self.config)
        for optimizer in self.state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        self._share_method_gradients()
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.config.gradient_clip)
        if not torch.isfinite(norm):
            raise DivergenceError(
                f"the gradient is {norm.item()} at step {step}. Start anew in another folder than "
                f"{self.folder}, with a learning rate below {self.config.learning_rate:g} or "
                "precision float32."
            )
        self._half_done = True
        for optimizer in self.state.optimizers:
            optimizer.step()
        self.state.ema.update(network, step)
        self.state.step += 1
        self._half_done = False
        if self.world_size > 1:
            torch.distributed.all_reduce(loss)
            loss = loss / self.world_size
        return StepReport(self.state.step, loss.item(), rate, norm.item())

    def save(self) -> None:
        """Writes the checkpoint (the first process only)."""
        if self.rank == 0:
            save_checkpoint(self.folder / "checkpoint", self.state, self.settings)

    def restore(self) -> None:
        """Continues from the checkpoint, if there is one.

        Raises:
            CheckpointError: if it is damaged, or of another run.
        """
        checkpoint = self.folder / "checkpoint"
        if self.rank == 0:
            recover_folder(checkpoint)
        if self.world_size > 1:
            torch.distributed.barrier()  # nobody looks before it is tidy
        if checkpoint.exists():
            load_checkpoint(checkpoint, self.state, self.settings)

    def _share_method_gradients(self) -> None:
        """Averages over the processes what only the network's gradients are averaged for."""
        if self.state.method is None or self.world_size == 1:
            return
        for parameter in self.state.method.parameters():
            assert parameter.grad is not None
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= self.world_size

    def wrap(self, network: nn.Module) -> Callable[..., Any]:
        """The network's pass for training: on all processes together, compiled where asked for."""
        forward: Any = network
        if self.world_size > 1:
            forward = nn.parallel.DistributedDataParallel(network)
        return torch.compile(forward) if self.config.compile else forward
