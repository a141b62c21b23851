"""A world of one coin: does a single sampling step show a side, or the blur of both?

Where the future is certain, one step of any network is right. Here a ball waits in the middle and
then jumps left or right by a coin flip, whatever the player does; a right guess is rewarded. The
many-step network, asked for one step, shows the mean of both sides; a distilled one must show one
ball, on each side half of the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from rich.console import Console
from rich.table import Table

from benchmarks.results import write_benchmark
from world_model.action_spec import ActionSpec
from world_model.data import EpisodeStore, open_store
from world_model.data.metadata import DatasetInfo
from world_model.data.writer import write_dataset
from world_model.distillation.methods import MethodSettings, begin_with, make_method, sampler_for
from world_model.flow import FEW_STEP_LOSSES, FlowConfig
from world_model.presets import get_preset
from world_model.rollout import Rollout
from world_model.training.adaptation import OutcomeSettings
from world_model.training.config import TrainConfig
from world_model.training.pipeline import Stages
from world_model.training.trainer import Trainer
from world_model.types import Episode
from world_model.world import World

SIZE, BALL, ROW = 16, 4, 6
LEFT, MIDDLE, RIGHT = 1, 6, 11
"""First column of the ball at each of its places."""
DARK, BRIGHT = 40, 220
ADVERSARIAL = "+adversarial"
"""Ending of a method's name: with the adversarial stage."""
INFO = DatasetInfo(
    action_spec=ActionSpec.from_space(spaces.Discrete(2), names=["left", "right"]),
    frame_shape=(SIZE, SIZE, 3),
    fps=5.0,
    source={"environment": "coin-flip"},
)


@dataclass(frozen=True)
class CoinFlipOptions:
    """Trains a many-step network on coin flips, distils it by every method, and counts sides."""

    out: Path = Path("runs/coin-flip")
    """Folder for data, runs and results."""
    methods: tuple[str, ...] = (*FEW_STEP_LOSSES, f"scm{ADVERSARIAL}")
    """Methods of distillation."""
    steps: tuple[int, ...] = (1, 2, 4, 8, 18)
    """Sampling steps of the many-step network; few-step ones are asked for 1, 2 and 4."""
    base_steps: int = 1_000
    """Training steps of the many-step network."""
    distill_steps: int = 1_000
    """Training steps of each method."""
    flips: int = 400
    """Coins flipped for every row of the table."""
    seed: int = 0
    """Of data, training and flips."""


def draw(column: int) -> np.ndarray:
    """uint8 (SIZE, SIZE, 3): the ball at a column."""
    frame = np.full((SIZE, SIZE, 3), DARK, np.uint8)
    frame[ROW : ROW + BALL, column : column + BALL] = BRIGHT
    return frame


def play(seed: int, flips: int = 8) -> Episode:
    """An episode under random guesses: middle, side, middle, side, ..., and the end."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(2, size=flips)
    columns = [MIDDLE]
    for side in sides:
        columns += [(LEFT, RIGHT)[side], MIDDLE]
    guesses = rng.integers(2, size=2 * flips)
    last = np.arange(2 * flips) == 2 * flips - 1
    return Episode(
        frames=np.stack([draw(column) for column in columns]),
        actions=guesses[:, None].astype(np.float32),
        rewards=np.where(np.arange(2 * flips) % 2 == 0, guesses == sides.repeat(2), False).astype(
            np.float32
        ),
        terminated=last,
        truncated=np.zeros_like(last),
        state=np.zeros((len(columns), 0), np.float32),
        info={"policy": "random", "seed": str(seed)},
    )


def make_store(folder: Path, episodes: int = 200, seed: int = 0) -> EpisodeStore:
    """The recorded flips; recorded once."""
    if not folder.exists():
        made = [play(seed * 1_000_003 + index) for index in range(episodes)]
        write_dataset(folder, made, INFO, shard_episodes=50)
    return open_store(folder)


def sides_shown(frames: np.ndarray) -> dict[str, float]:
    """Shares of frames uint8 (B, SIZE, SIZE, 3) that show one ball on a side, or anything else."""
    rows = frames[:, ROW : ROW + BALL].astype(np.float64)
    left, right = (rows[:, :, c : c + BALL].mean(axis=(1, 2, 3)) for c in (LEFT, RIGHT))
    low, high = DARK + 0.25 * (BRIGHT - DARK), DARK + 0.75 * (BRIGHT - DARK)
    one = float(((left > high) & (right < low)).mean())
    other = float(((right > high) & (left < low)).mean())
    return {"left": one, "right": other, "neither": 1 - one - other}


def flip(world: World, steps: int, flips: int, seed: int) -> dict[str, float]:
    """Imagines coins: which sides are shown after ``steps`` sampling steps."""
    rollout = Rollout(world, sampling_steps=steps, termination_mode="never")
    assert world.contexts is not None
    starts = np.arange(flips) % len(world.contexts)
    seeds = torch.arange(flips) + seed * flips
    state = rollout.begin(world.contexts.pick(starts), seeds)
    guesses = torch.arange(flips)[:, None] % 2
    _, outcome = rollout.advance(state, guesses.float())
    return sides_shown(outcome.frames.cpu().numpy())


def train_base(store: EpisodeStore, options: CoinFlipOptions) -> World:
    """The many-step world."""
    preset = get_preset("tiny")
    preset = replace(
        preset,
        network=replace(preset.network, transport=None),
        flow=FlowConfig(loss="x", shift=2.0, noise_fraction=0.25, context_fraction=0.2),
        context_length=1,
        sampler="dpmpp2m",
        sampling_steps=18,
    )
    folder = options.out / "base"
    train = _train_config(options.base_steps, options.seed)
    outcome = OutcomeSettings(steps=0, contexts=32)
    stages = Stages(store, preset, folder, "coin-flip", train, outcome)
    trainer = stages.trainer()
    for _ in trainer.run():
        pass
    return stages.world(trainer)


def distil(base: World, store: EpisodeStore, method: str, options: CoinFlipOptions) -> World:
    """The few-step world that a method makes of it."""
    loss = method.removesuffix(ADVERSARIAL)
    flow = replace(base.flow, loss=loss, noise_fraction=0.5, context_fraction=0.0)
    base = replace(base, network=begin_with(base.network, loss), _networks={})
    trainer = Trainer(
        store,
        base.tokenizer,
        base.network.config,
        flow,
        _train_config(options.distill_steps, options.seed),
        options.out / method,
        start_from=base,
        method=make_method(flow, base.tokenizer, base, MethodSettings(adversarial=loss != method)),
    )
    for _ in trainer.run():
        pass
    config = replace(base.config, sampler=sampler_for(loss), sampling_steps=1, sampling_shift=1.0)
    network = trainer.averaged_network().requires_grad_(False)
    return replace(base, config=config, network=network, flow=flow, _networks={})


def _train_config(steps: int, seed: int) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        batch_size=16,
        length=5,
        learning_rate=2e-3,
        warmup_steps=50,
        ema_decay=0.99,
        precision="float32",
        seed=seed,
        sample_every=0,
    )


def rows(options: CoinFlipOptions) -> Iterator[dict[str, Any]]:
    """Method, sampling steps, and which sides were shown."""
    store = make_store(options.out / "data", seed=options.seed)
    base = train_base(store, options)
    for steps in options.steps:
        yield {"method": "none", "steps": steps, **flip(base, steps, options.flips, options.seed)}
    for method in options.methods:
        student = distil(base, store, method, options)
        for steps in (1, 2, 4):
            shown = flip(student, steps, options.flips, options.seed)
            yield {"method": method, "steps": steps, **shown}


def run(options: CoinFlipOptions, console: Console) -> dict[str, Any]:
    """Measures, prints the table and writes ``coin-flip.json``."""
    started = time.perf_counter()
    table = Table("method", "sampling steps", "left", "right", "neither")
    measured = []
    for row in rows(options):
        measured.append(row)
        shares = [f"{row[side]:.2f}" for side in ("left", "right", "neither")]
        console.print(row["method"], row["steps"], *shares)
        table.add_row(row["method"], str(row["steps"]), *shares)
    console.print(table)
    return write_benchmark(
        options.out / "coin-flip.json",
        "coin-flip",
        world=None,
        settings=asdict(options),
        results={"rows": measured},
        seconds=time.perf_counter() - started,
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m benchmarks.coin_flip``."""
    run(tyro.cli(CoinFlipOptions, args=argv), Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
