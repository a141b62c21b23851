from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.world_model.outcome_source import EpisodeList
from world_model.errors import DataError
from world_model.outcome import OutcomeModel
from world_model.outcome_calibration import (
    GeneratedSequence,
    calibrate_outcome,
    finetune_outcome,
    fit_platt,
    history_memory,
)
from world_model.outcome_metrics import evaluate_outcome
from world_model.outcome_training import OutcomeTraining
from world_model.types import Episode


def imagine(episode: Episode, start: int, rng: np.random.Generator) -> GeneratedSequence:
    """What a bad world model makes of an episode: 16 frames, pale, noisy."""
    frames = episode.frames[start : start + 16].astype(np.float32)
    pale = 48 + 0.4 * frames + rng.normal(0, 10, frames.shape)
    return GeneratedSequence(episode, start, pale.clip(0, 255).astype(np.uint8))


def imagined_batches(
    source: EpisodeList, split: str, seed: int, batch: int = 16
) -> Iterator[list[GeneratedSequence]]:
    rng = np.random.default_rng(seed)
    while True:
        episodes = [source.episode(int(i)) for i in rng.choice(source.split(split), batch)]
        starts = [int(rng.integers(0, len(episode.frames))) for episode in episodes]
        yield [imagine(*pair, rng) for pair in zip(episodes, starts, strict=True)]


def some(source: EpisodeList, split: str, seed: int, count: int) -> list[list[GeneratedSequence]]:
    batches = imagined_batches(source, split, seed)
    return [next(batches) for _ in range(count)]


def test_calibration_repairs_probabilities_on_generated_frames(
    trained: OutcomeModel, source: EpisodeList
) -> None:
    model = copy.deepcopy(trained)
    report = calibrate_outcome(model, some(source, "validation", seed=0, count=12))
    assert report.after.nll < 0.9 * report.before.nll
    assert report.after.ece < report.before.ece
    assert report.bias > 1  # it was blind to most ends
    assert report.after.auroc == pytest.approx(report.before.auroc, abs=1e-6)
    # The model itself is changed, and stays better on imagined frames it was not fitted to.
    again = calibrate_outcome(copy.deepcopy(model), some(source, "train", seed=1, count=12))
    untouched = calibrate_outcome(copy.deepcopy(trained), some(source, "train", seed=1, count=12))
    assert again.before.nll < untouched.before.nll
    # Its threshold catches what scored best.
    assert model.termination_threshold.sigmoid() == pytest.approx(report.after.threshold, rel=1e-2)


def test_finetuning_learns_generated_frames_and_keeps_the_real_ones(
    trained: OutcomeModel, source: EpisodeList
) -> None:
    def losses(model: OutcomeModel) -> tuple[float, float]:
        held_out = some(source, "validation", seed=2, count=12)
        imagined = calibrate_outcome(copy.deepcopy(model), held_out).after
        real = evaluate_outcome(model, source, source.split("validation")).termination
        assert real is not None
        return imagined.nll, real.nll

    model = copy.deepcopy(trained)
    model.termination_bias.fill_(-3.0)
    finetune_outcome(
        model,
        source,
        imagined_batches(source, "train", seed=3),
        steps=60,
        batch=8,
        length=16,
        training=OutcomeTraining(learning_rate=2e-3, state_weight=0.5),
    )
    assert model.termination_bias == 0  # calibrate afterwards
    before, after = losses(trained), losses(model)
    assert after[0] < 0.8 * before[0]
    assert after[1] < 1.2 * before[1]


def test_memory_of_the_real_frames_before(trained: OutcomeModel, source: EpisodeList) -> None:
    """Histories of different length, run as one batch, equal each run alone."""
    episodes = [source.episode(i) for i in range(3)]
    starts = [0, 3, len(episodes[2].frames) - 1]
    together = history_memory(
        trained,
        [
            GeneratedSequence(episode, start, episode.frames[start:])
            for episode, start in zip(episodes, starts, strict=True)
        ],
    )
    for row, (episode, start) in enumerate(zip(episodes, starts, strict=True)):
        memory = trained.initial_memory(1)
        for t in range(start):
            action = episode.actions[t - 1] if t else np.full(1, np.nan, np.float32)
            with torch.no_grad():
                memory = trained.observe(
                    memory, torch.from_numpy(episode.frames[t : t + 1]), torch.tensor(action)[None]
                )
        torch.testing.assert_close(together[row], memory[0], rtol=1e-4, atol=1e-4)


def test_platt_recovers_a_known_distortion() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(40_000, generator=generator, dtype=torch.float64) * 2 - 3
    happened = (
        torch.rand(40_000, generator=generator, dtype=torch.float64) < true.sigmoid()
    ).double()
    scale, bias = fit_platt((true + 1) / 0.5, happened)
    assert scale == pytest.approx(0.5, rel=0.05)
    assert bias == pytest.approx(-1.0, abs=0.1)


def test_platt_stays_sane_on_little_data() -> None:
    separated = fit_platt(torch.tensor([-1.0, 1.0]).double(), torch.tensor([0.0, 1.0]).double())
    assert 0.05 <= separated[0] < 5
    reversed_ = fit_platt(torch.linspace(-5, 5, 99).double(), (torch.arange(99) < 40).double())
    assert reversed_[0] == 0.05


def test_misfitting_sequences_are_refused(trained: OutcomeModel, source: EpisodeList) -> None:
    episode = source.episode(0)
    count = len(episode.frames)
    with pytest.raises(DataError, match=f"episode of {count} frames"):
        GeneratedSequence(episode, count - 1, episode.frames[:2])
    with pytest.raises(DataError, match="do not lie"):
        GeneratedSequence(episode, 0, episode.frames[:0])
    with pytest.raises(DataError, match="float32"):
        GeneratedSequence(episode, 0, episode.frames.astype(np.float32))
    with pytest.raises(DataError, match="no imagined sequences"):
        calibrate_outcome(copy.deepcopy(trained), [])
    harmless = GeneratedSequence(episode, 0, episode.frames[:4])
    with pytest.raises(DataError, match="both kinds"):
        calibrate_outcome(copy.deepcopy(trained), [[harmless]])
