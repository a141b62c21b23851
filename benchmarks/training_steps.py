"""Training steps a second, taken plainly and replayed as one CUDA graph, on frames of noise.

What a step computes does not depend on what the frames show, so nothing has to be recorded.
"""

from __future__ import annotations

import gc
import json
import tempfile
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from rich.console import Console

from world_model.action_spec import ActionSpec
from world_model.data import EpisodeStore, open_store
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import write_dataset
from world_model.distillation.methods import begin_with, make_method
from world_model.flow import REGRESSION_LOSSES
from world_model.network import NextFrameDiffusion
from world_model.presets import get_preset, with_frame_shape
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.training.cost import steps_per_second
from world_model.training.pipeline import describe_hardware
from world_model.training.step_graph import PLAIN_STEPS
from world_model.training.trainer import Trainer
from world_model.types import Episode

WARM_STEPS = PLAIN_STEPS + 5
"""Steps before the clock starts: by then they are replayed."""


@dataclass(frozen=True)
class TrainingStepsOptions:
    """Times training steps with and without CUDA graphs."""

    out: Path | None = None
    """JSON file for the results."""
    preset: str = "doom-take-cover"
    """Shape of the network and of its regression."""
    losses: tuple[str, ...] = ("x", "energy", "shortcut")
    """What is trained: regressions, and few-step methods without a teacher."""
    batch_size: int = 48
    """Windows per step."""
    length: int = 8
    """Frames per window."""
    side: int = 64
    """Height and width of a frame in pixels."""
    steps: int = 30
    """Steps that are timed."""
    precision: str = "auto"
    """auto, float32 or bfloat16."""
    device: str = "cuda"
    """Where to train."""


@dataclass(frozen=True)
class TrainingStepsRow:
    """One loss, trained in one way."""

    loss: str
    """What was trained."""
    graphs: bool
    """Whether steps were to be replayed."""
    replayed: bool
    """Whether they were."""
    steps_per_second: float
    """Training steps, with the optimisers and the average of the weights."""
    peak_gib: float
    """Most memory that the allocator held on a GPU, in GiB of 2**30 bytes."""
    last_loss: float
    """Of the last step: both ways should come to the same."""
    note: str = ""
    """Why nothing was replayed, if that was not intended."""


def run(options: TrainingStepsOptions, console: Console) -> list[TrainingStepsRow]:
    """Every loss in both ways, printed and written down."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = noise(Path(folder) / "data", options)
        for loss in options.losses:
            for graphs in (False, True):
                rows.append(measure(options, store, loss, graphs=graphs))
                console.print(json.dumps(asdict(rows[-1])), markup=False, highlight=False)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        made: dict[str, Any] = {
            "options": {**asdict(options), "out": str(options.out)},
            "hardware": describe_hardware(torch.device(options.device)),
            "torch": torch.__version__,
            "rows": [asdict(row) for row in rows],
        }
        options.out.write_text(json.dumps(made, indent=1) + "\n")
    return rows


def noise(folder: Path, options: TrainingStepsOptions) -> EpisodeStore:
    """A data set of noise."""
    rng = np.random.default_rng(0)
    shape, transitions = (options.side, options.side, 3), options.length + 4
    info = DatasetInfo(
        action_spec=ActionSpec.from_space(spaces.Discrete(3)),
        frame_shape=shape,
        fps=10.0,
        source={"environment": "Noise-v0"},
    )
    last = np.arange(transitions) == transitions - 1
    episodes = [
        Episode(
            frames=rng.integers(0, 256, (transitions + 1, *shape), np.uint8),
            actions=rng.integers(0, 3, (transitions, 1)).astype(np.float32),
            rewards=np.zeros(transitions, np.float32),
            terminated=last,
            truncated=np.zeros(transitions, bool),
            state=np.zeros((transitions + 1, 0), np.float32),
            info={"policy": "noise", "seed": str(seed)},
        )
        for seed in range(20)
    ]
    return open_store(write_dataset(folder, episodes, info))


def measure(
    options: TrainingStepsOptions, store: EpisodeStore, loss: str, *, graphs: bool
) -> TrainingStepsRow:
    """One row."""
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    if cuda:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = make_trainer(options, store, loss, Path(folder), graphs=graphs)
        rate = steps_per_second(trainer, WARM_STEPS, options.steps)
        last = trainer.train_step().loss
    failed = trainer.step_graph is not None and trainer.step_graph.failed
    return TrainingStepsRow(
        loss=loss,
        graphs=graphs,
        replayed=trainer.step_graph is not None and trainer.step_graph.replayed > 0,
        steps_per_second=round(rate, 2),
        peak_gib=round(torch.cuda.max_memory_reserved(device) / 2**30, 2) if cuda else 0.0,
        last_loss=last,
        note=str(caught[-1].message) if failed and caught else "",
    )


def make_trainer(
    options: TrainingStepsOptions, store: EpisodeStore, loss: str, folder: Path, *, graphs: bool
) -> Trainer:
    """A trainer of fresh weights; few-step losses look back at themselves as in ``nfd distill``."""
    preset = with_frame_shape(get_preset(options.preset), store.frame_shape)
    tokenizer = PixelPatchTokenizer(PixelPatchConfig(store.frame_shape, preset.patch_size))
    network, method = preset.network, None
    flow = replace(preset.flow, loss=loss, object_weights=())
    if loss not in REGRESSION_LOSSES:
        flow = replace(flow, noise_fraction=0.75, context_fraction=0.0, junk_fraction=0.08)
        network = begin_with(NextFrameDiffusion(network, store.action_spec), loss).config
        method = make_method(flow, tokenizer)
    train = replace(
        preset.train,
        steps=1_000_000,
        batch_size=options.batch_size,
        length=options.length,
        precision=options.precision,
        graphs=graphs,
    )
    return Trainer(store, tokenizer, network, flow, train, folder, options.device, method=method)


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m benchmarks.training_steps``."""
    run(tyro.cli(TrainingStepsOptions, args=argv), Console(width=200))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
