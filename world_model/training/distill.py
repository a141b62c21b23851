"""``nfd distill``: a world that samples in many steps in, one that samples in few out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from world_model.data import EpisodeStore, open_store_for
from world_model.data.locating import find_dataset
from world_model.distillation.methods import (
    MethodSettings,
    begin_with,
    check_teacher,
    make_method,
    sampler_for,
)
from world_model.distillation.shrinking import narrow, shrink
from world_model.errors import ConfigError
from world_model.flow import CONSISTENCY_LOSSES, FlowConfig
from world_model.moments import cut_moments
from world_model.outcome_data import check_splits
from world_model.training.adaptation import OutcomeSettings
from world_model.training.config import TrainConfig
from world_model.training.console import (
    adapt_with_progress,
    clear_errors,
    learn_with_progress,
    open_data,
    run_to_the_end,
    train_with_progress,
)
from world_model.training.cost import noting_cost, steps_that_fit
from world_model.training.pipeline import describe_hardware
from world_model.training.processes import find_device, is_first, join_processes, leave_processes
from world_model.training.tokens import cached_tokens
from world_model.training.trainer import Trainer
from world_model.world import World

LEARNING_RATES = {"energy": 1e-3, "shortcut": 2e-5, "scm": 2e-5, "consistency": 2e-5}
"""Peak learning rate of each method."""


@dataclass(frozen=True)
class DistillCommand:
    """Teaches a world to sample in few steps; start it again to go on after an interruption."""

    world: Annotated[str, tyro.conf.Positional]
    """World to begin with: a name, a folder or a hub id."""
    method: Literal["energy", "shortcut", "scm", "consistency"] = "energy"
    """energy: one-step samples of recorded frames under the energy score (no teacher). shortcut:
    far steps that lead where two shorter ones lead (no teacher). scm: continuous-time consistency,
    the paper's. consistency: discrete consistency."""
    teacher: str | None = None
    """Many-step world that scm and consistency learn from (default: the teacher
    kept with WORLD, or WORLD itself)."""
    sampling_steps: int = 2
    """Default sampling steps of the result."""
    layers: int | None = None
    """Makes the student smaller: blocks to keep of WORLD's (default: all)."""
    mlp_width: int | None = None
    """Makes the student narrower: units to keep of each block's MLP (default: all)."""
    data: Path | None = None
    """Folder of the data set that the world was learned from (default: data/NAME, by the name of
    the world, of its recordings or of their preset)."""
    out: Path | None = None
    """Folder of the run (default: runs/distill-NAME); the world ends up in its folder ``world``."""
    cache_tokens: bool = False
    """With an autoencoder: encodes every frame once, into the cache of the data set, from where
    nfd train takes them too, instead of at every step. Several processes must share the disk that
    the data set is on."""
    further: bool = False
    """Goes on from a world that was distilled before."""
    steps: int = 4000
    """Optimiser steps."""
    minutes: float | None = None
    """Takes as many optimiser steps as fit into so much time, instead of --steps."""
    batch_size: int = 12
    """Windows per step."""
    length: int | None = None
    """Frames per window (default: half as many again as the network has in sight, at least 8)."""
    learning_rate: float | None = None
    """Peak learning rate (default: 1e-3 for energy, 2e-5 for the others, which learn from what the
    student itself makes of other noise levels: at 1e-3 they fell apart within 200 steps, at 2e-4
    scm within 260)."""
    precision: str = "auto"
    """auto, float32 or bfloat16."""
    compile: bool = False
    """Compile the network (a minute or two at the start; needs a C++ compiler on a CPU)."""
    graphs: bool = True
    """On a GPU, replay steps as one CUDA graph, where --method and --compile allow it."""
    seed: int = 0
    """Seed of everything that is drawn."""
    save_every: int = 200
    """Steps between checkpoints."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    half: bool = True
    """Store the transformer's weights as float16."""
    settings: Annotated[MethodSettings, tyro.conf.arg(name="")] = field(
        default_factory=MethodSettings
    )
    """Settings of the methods."""
    outcome: OutcomeSettings = field(
        default_factory=lambda: OutcomeSettings(steps=0, horizon=64, batch=8)
    )
    """How the outcome model is adapted to the new frames (steps above 0: a new one is trained)."""


def run(command: DistillCommand) -> Path:
    """Trains, and writes the world with the contexts that it had.

    Raises:
        ConfigError: if a setting is out of range, or the world does not fit the data or was
            distilled before.
        DataError: if the data set is missing, damaged or too small.
        CheckpointError: if the folder holds a damaged checkpoint, or one of another run.
        DivergenceError: if the training diverges.
        StorageError: if the disk is full.
    """
    if command.sampling_steps < 1:
        raise ConfigError(f"sampling_steps must be at least 1, not {command.sampling_steps}.")
    world = World.from_pretrained(command.world)
    if world.flow.makes_samples and not command.further:
        raise ConfigError(
            f"{world.model_id} was distilled before. Give --further to train it on, or begin "
            "with the world that it was made from."
        )
    teacher = _find_teacher(world, command.teacher)
    if command.teacher is not None and command.method not in CONSISTENCY_LOSSES:
        raise ConfigError(f"--method {command.method} has no teacher: leave --teacher out.")
    check_teacher(teacher, world)
    if command.layers is not None:
        world = replace(world, network=shrink(world.network, command.layers), _networks={})
    if command.mlp_width is not None:
        world = replace(world, network=narrow(world.network, command.mlp_width), _networks={})
    if world.network.config.step_size and command.method != "shortcut":
        raise ConfigError(
            f"{world.model_id} steps as far as it is told, and --method {command.method} tells "
            "it nothing. Go on with --method shortcut, or begin with the world it was made from."
        )
    world = replace(world, network=begin_with(world.network, command.method), _networks={})
    name = world.config.name
    folder = command.out or Path("runs") / f"distill-{name}"
    with clear_errors():
        device = find_device(command.device)
        train = TrainConfig(
            steps=command.steps,
            batch_size=command.batch_size,
            length=command.length or max(8, world.network.config.window * 3 // 2),
            learning_rate=(
                LEARNING_RATES[command.method]
                if command.learning_rate is None
                else command.learning_rate
            ),
            precision=command.precision,
            compile=command.compile,
            graphs=command.graphs,
            seed=command.seed,
            save_every=command.save_every,
            sample_every=0,
        )
    distributed = join_processes(device)
    finished = False
    try:
        shape, source = world.config.frame_shape, world.config.source
        opener = partial(open_store_for, frame_shape=shape, source=source)
        store = open_data(find_dataset(world.config, command.data), opener)
        if command.outcome.steps:
            check_splits(store)
        flow = few_step_flow(world, store, command.method)
        tokens = None
        if command.cache_tokens:
            tokens = cached_tokens(
                store, world.tokenizer, device=device, precision=command.precision
            )
        trainer = Trainer(
            store,
            world.tokenizer,
            world.network.config,
            flow,
            train,
            folder,
            device,
            world,
            make_method(flow, world.tokenizer, teacher.to(device), command.settings),
            tokens,
        )
        if command.minutes is not None and distributed:
            raise ConfigError("--minutes is for one process: give --steps.")
        with noting_cost(trainer, folder) if is_first() else nullcontext():
            if command.minutes is not None:
                trainer.config = replace(train, steps=steps_that_fit(trainer, command.minutes))
            train_with_progress(trainer, folder)
        finished = True
    finally:
        if distributed:
            leave_processes(together=finished)
    if not is_first():
        return folder / "world"
    config = replace(
        world.config,
        sampler=sampler_for(command.method),
        sampling_steps=command.sampling_steps,
        sampling_shift=1.0,
        hardware=describe_hardware(device),
    )
    network = trainer.averaged_network()
    student = replace(
        world,
        config=config,
        network=network,
        flow=flow,
        teacher=teacher.as_teacher(),
        card="",
        _networks={},
    )
    where: dict[str, Any] = {"device": device, "precision": command.precision}
    if command.outcome.steps:
        learned = learn_with_progress(store, command.outcome, folder, **where)
        student = replace(student, outcome=learned, _networks={})
    if student.outcome is not None:
        adapt_with_progress(student, store, command.outcome, folder, **where)
    student.moments = cut_moments(
        store, student.outcome, command.outcome.moments, config.context_length
    )
    dtype = torch.float16 if command.half else torch.float32
    return student.save_pretrained(folder / "world", dtype=dtype)


def _find_teacher(world: World, name: str | None) -> World:
    """The world to learn from: the one named, the one that was distilled, or the first itself."""
    if name is not None:
        return World.from_pretrained(name)
    return world if world.teacher is None else world.many_step()


def few_step_flow(world: World, store: EpisodeStore, loss: str = "energy") -> FlowConfig:
    """How the world's transformer is trained to make samples.

    Most frames are made from pure noise, where sampling starts; the rest teaches what a second
    step needs. Half of the windows look back at what the network imagined itself, but not where a
    teacher says what is right: it has never seen its student's frames, and errors would feed
    themselves.

    Raises:
        ConfigError: if the data are of another shape than the world, or of other actions.
    """
    if tuple(store.frame_shape) != tuple(world.config.frame_shape):
        raise ConfigError(
            f"{store.root} has frames of {tuple(store.frame_shape)}, {world.model_id} of "
            f"{tuple(world.config.frame_shape)}. Give the data that the world was learned from."
        )
    if store.action_spec != world.action_spec:
        theirs, ours = (
            [group.labels or group.name for group in spec.groups]
            for spec in (store.action_spec, world.action_spec)
        )
        raise ConfigError(
            f"{store.root} has the actions {theirs}, {world.model_id} has {ours}. Give the data "
            "that the world was learned from; to go on with another game: nfd train --start-from."
        )
    taught = loss in CONSISTENCY_LOSSES
    return replace(
        world.flow,
        loss=loss,
        noise_fraction=0.75,
        context_fraction=0.0,
        object_weights=world.flow.object_weights if store.labels is not None else (),
        own_fraction=0.0 if taught else 0.5,
        junk_fraction=0.0 if taught else 0.08,
    )


def main(argv: list[str]) -> int:
    """Entry point of ``nfd distill``."""
    command = tyro.cli(
        DistillCommand, args=argv, prog="nfd distill", description=DistillCommand.__doc__
    )
    return run_to_the_end(lambda: run(command))
