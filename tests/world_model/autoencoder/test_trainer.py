"""Training makes decoded frames better, and a run that was stopped equals one that was not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.world_model.autoencoder.tiny import TINY
from tests.world_model.training.test_trainer import train
from world_model.autoencoder.latents import frames_of, scaled
from world_model.autoencoder.losses import LossConfig
from world_model.autoencoder.report import measure
from world_model.autoencoder.trainer import AutoencoderTrainer
from world_model.errors import CheckpointError, DivergenceError
from world_model.training.config import TrainConfig

SMALL = replace(TINY, frame_shape=(16, 16, 3), width=16)


def make_trainer(store, folder, *, loss=None, perceptual=None, **changes):
    settings = {
        "steps": 4,
        "batch_size": 4,
        "length": 1,
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "weight_decay": 0.0,
        "optimizer": "adamw",
        "precision": "float32",
        "save_every": 3,
        **changes,
    }
    config = TrainConfig(**settings)
    return AutoencoderTrainer(
        store, SMALL, loss or LossConfig(), config, folder, perceptual=perceptual
    )


def quality(trainer, store):
    tokenizer = scaled(trainer.averaged(), frames_of(store, "train", 32))
    return measure(tokenizer, frames_of(store, "validation", 32))


@pytest.mark.slow
def test_a_few_steps_bring_held_out_frames_nearer(bars, tmp_path):
    trainer = make_trainer(bars, tmp_path, steps=60, batch_size=8, warmup_steps=10, save_every=99)
    before = quality(trainer, bars)
    losses = [report.loss for report in train(trainer)]
    after = quality(trainer, bars)
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])
    assert after.psnr > before.psnr + 3
    assert after.ssim > before.ssim + 0.2
    assert after.token_std == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("stop_after", [2, 3])
def test_stopped_and_continued_equals_uninterrupted(bars, tmp_path, stop_after):
    whole = make_trainer(bars, tmp_path / "whole")
    reports = train(whole)
    first = train(make_trainer(bars, tmp_path / "parts"), stop_after)
    torch.manual_seed(999)  # the global generator has no say
    resumed = make_trainer(bars, tmp_path / "parts")
    assert resumed.state.step == stop_after
    assert first + train(resumed) == reports
    for name, weight in whole.state.ema.weights.items():
        assert torch.equal(weight, resumed.state.ema.weights[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": LossConfig(kl_weight=1e-3)}, "loss.kl_weight is 1e-06 there and 0.001 here"),
        ({"learning_rate": 0.5}, "train.learning_rate is 0.003 there and 0.5 here"),
        ({"perceptual": torch.nn.Identity()}, "perceptual is False there and True here"),
    ],
)
def test_other_settings_do_not_continue_a_run(bars, tmp_path, changes, message):
    train(make_trainer(bars, tmp_path), 1)
    with pytest.raises(CheckpointError, match=message):
        make_trainer(bars, tmp_path, **changes)


def test_the_perceptual_network_is_listened_to(bars, tmp_path):
    class Loud(torch.nn.Module):
        def forward(self, a, b):
            assert a.shape == b.shape == (4, 3, 16, 16)
            return 100 + (a - b).abs().mean((1, 2, 3))

    plain = train(make_trainer(bars, tmp_path / "plain"), 1)[0]
    heard = train(make_trainer(bars, tmp_path / "heard", perceptual=Loud()), 1)[0]
    assert heard.loss > plain.loss + 90


def test_a_gradient_that_is_not_finite_stops_the_run(bars, tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, a, b):
            return (a - b).mean((1, 2, 3)) * float("nan")

    with pytest.raises(DivergenceError, match="the gradient is nan at step 0"):
        train(make_trainer(bars, tmp_path, perceptual=Broken()))


def test_mixed_precision_trains(bars, tmp_path):
    reports = train(make_trainer(bars, tmp_path, steps=2, precision="bfloat16"))
    assert all(torch.isfinite(torch.tensor(report.loss)) for report in reports)
