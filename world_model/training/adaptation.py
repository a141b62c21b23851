"""The outcome model's two lessons: on recorded frames, and on what it will see, imagined ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from world_model.data import EpisodeStore
from world_model.imagining import imagined_sequences, retraced_sequences
from world_model.outcome import OutcomeModel
from world_model.outcome_calibration import (
    CalibrationReport,
    GeneratedSequence,
    calibrate_outcome,
    finetune_outcome,
)
from world_model.outcome_training import (
    OutcomeProgress,
    OutcomeTraining,
    outcome_config,
    train_outcome,
)
from world_model.precision import choose_precision
from world_model.rollout import Rollout
from world_model.world import World

FINETUNE_LEARNING_RATE = 2e-4
"""Peak learning rate on imagined frames: a fifth of the first training's."""


@dataclass(frozen=True)
class OutcomeSettings:
    """How much the outcome model is trained."""

    width: int = 256
    """Of its memory and of a frame's embedding."""
    steps: int = 1_200
    """Steps on real sequences (0: a world without rewards and terminations)."""
    finetune_steps: int = 100
    """Steps on imagined frames beside real ones."""
    calibration_batches: int = 25
    """Batches of imagined, held-out sequences that the termination head is calibrated on."""
    horizon: int = 16
    """Imagined frames per sequence."""
    batch: int = 24
    """Sequences per step."""
    reward_weight: float = 0.1
    """Of the reward's cross entropy, next to 1 for the termination's: more where rewards, not the
    end, are what a game is about."""
    state_names: tuple[str, ...] | None = None
    """What of the real environment's state the memory is taught; None: ``health`` if recorded."""
    contexts: int = 64
    """Clips that start episodes."""
    moments: int = 256
    """Clips from the midst of episodes, where short ones start."""


def learn_outcome(
    store: EpisodeStore,
    settings: OutcomeSettings,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    on_progress: Callable[[OutcomeProgress], None] = lambda progress: None,
) -> OutcomeModel:
    """Trains an outcome model on recorded sequences, continuing from a checkpoint in ``folder``.

    Args:
        store: the data set.
        settings: how much.
        folder: of the run.
        device: where to compute.
        precision: bfloat16 where it is fast, see :func:`choose_precision`.
        on_progress: told after every step.
    """
    names = settings.state_names
    if names is None:
        names = tuple(n for n in store.state_names if n == "health")
    return train_outcome(
        store,
        store.action_spec,
        outcome_config(
            store,
            state_names=names,
            embedding=settings.width,
            hidden=settings.width,
            head=max(1, settings.width // 2),
        ),
        steps=settings.steps,
        batch=settings.batch,
        training=_training(settings, precision, device),
        checkpoint_dir=folder / "outcome",
        on_progress=on_progress,
        device=device,
    )


def adapt_outcome(
    world: World,
    store: EpisodeStore,
    settings: OutcomeSettings,
    *,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    on_progress: Callable[[OutcomeProgress], None] = lambda progress: None,
) -> CalibrationReport:
    """Fine-tunes and calibrates a world's outcome model on what the world's network makes.

    A network that makes samples retraces the recorded episodes: its frames look as they will in
    use, and still show what happened, so that what happened is the right answer, however long the
    horizon: a memory of hits must not fade while it watches imagined frames. One that estimates
    means cannot do that in a step; it imagines them freely, and its horizon should be short.

    Args:
        world: its outcome model is changed in place.
        store: the data set it was trained on.
        settings: how much.
        device: where to compute.
        precision: of the transformer's matrix products, see :class:`Rollout`.
        on_progress: told after every step of fine-tuning.

    Raises:
        DataError: if there is nothing to calibrate on, such as when no episode terminates.
    """
    assert world.outcome is not None
    world.to(device)

    def sequences(split: str, seed: int) -> Iterator[list[GeneratedSequence]]:
        size = {"horizon": settings.horizon, "batch": settings.batch, "seed": seed}
        if world.flow.makes_samples:
            return retraced_sequences(
                world, store, split, device=device, precision=precision, **size
            )
        rollout = Rollout(
            replace(world, outcome=None),  # frames alone are faster to imagine
            device=device,
            termination_mode="never",
            precision=precision,
        )
        return imagined_sequences(rollout, store, split, **size)

    if settings.finetune_steps:
        world.outcome.requires_grad_(True)  # a world that was loaded does not learn by itself
        finetune_outcome(
            world.outcome,
            store,
            sequences("train", 1),
            steps=settings.finetune_steps,
            batch=settings.batch,
            training=replace(
                _training(settings, precision, device), learning_rate=FINETUNE_LEARNING_RATE
            ),
            on_progress=on_progress,
        )
        world.outcome.requires_grad_(False)
    held_out = islice(sequences("validation", 2), settings.calibration_batches)
    return calibrate_outcome(world.outcome, held_out)


def _training(
    settings: OutcomeSettings, precision: str, device: torch.device | str
) -> OutcomeTraining:
    fast = choose_precision(precision, torch.device(device)) == torch.bfloat16
    return OutcomeTraining(reward_weight=settings.reward_weight, autocast=fast)
