"""The scale of latents, and the report on them."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from tests.world_model.autoencoder.tiny import TINY, make_tokenizer, pictures
from world_model.autoencoder.latents import frames_of, scaled
from world_model.autoencoder.report import measure, write_comparison
from world_model.data.images import decode_image


def batches(frames, size=5):
    return iter(frames.split(size))


def test_scaled_latents_have_unit_standard_deviation():
    frames = pictures(23)
    tokenizer = scaled(make_tokenizer(), batches(frames))
    numbers = tokenizer.encode(frames).flatten(0, 1)
    assert numbers.mean(0).abs().max() < 1e-3
    assert numbers.std().item() == pytest.approx(1, abs=1e-2)
    assert tokenizer.config.latent_std != 1.0


def test_scaling_again_changes_nothing_and_the_networks_stay():
    frames = pictures(12)
    raw = make_tokenizer()
    once = scaled(raw, batches(frames))
    twice = scaled(once, batches(frames, 12))
    np.testing.assert_allclose(twice.config.latent_mean, once.config.latent_mean, atol=1e-4)
    assert twice.config.latent_std == pytest.approx(once.config.latent_std, rel=1e-4)
    for a, b in zip(raw.state_dict().values(), twice.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    difference = once.decode(once.encode(frames)).int() - raw.decode(raw.encode(frames)).int()
    assert difference.abs().max() <= 1


def test_latents_that_are_always_the_same_can_be_scaled():
    tokenizer = make_tokenizer()
    torch.nn.init.zeros_(tokenizer.encoder.layers[-1].weight)
    tokens = scaled(tokenizer, batches(pictures(3))).encode(pictures(3))
    assert torch.isfinite(tokens).all()


def test_frames_come_from_their_split_alone(bars):
    for split in ("train", "validation"):
        allowed = {
            frame.tobytes() for i in bars.split(split) for frame in bars.episode(int(i)).frames
        }
        found = torch.cat(list(frames_of(bars, split, 30)))
        assert found.shape == (30, 16, 16, 3)
        assert all(frame.numpy().tobytes() in allowed for frame in found)
    everything = sum(len(batch) for batch in frames_of(bars, "validation", 10**6))
    assert everything == bars.lengths[bars.split("validation")].sum()


def test_the_report_of_a_known_tokenizer():
    frames = pictures(8)
    tokenizer = scaled(make_tokenizer(), batches(frames))
    last = tokenizer.decoder.layers[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)  # every frame is decoded as grey, 128
    report = measure(tokenizer, batches(frames))
    error = (frames.double() - 128).square().mean().item()
    assert report.frames == 8
    assert report.psnr == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
    assert report.psnr_worst < report.psnr
    assert report.absolute_error == pytest.approx((frames.double() - 128).abs().mean().item())
    assert report.ssim < 0.9
    assert report.token_std == pytest.approx(1, abs=0.01)
    assert report.token_mean == pytest.approx(0, abs=1e-3)
    assert len(report.channel_std) == TINY.latent_channels
    assert report.pixels_per_number == 16 * 32 * 3 / (2 * 4 * 4)
    kl = tokenizer.encoder(tokenizer.to_images(frames)).kl().sum((1, 2, 3)).mean().item()
    assert report.bits_per_frame == pytest.approx(kl / np.log(2), rel=1e-5)
    json.dumps(asdict(report))


def test_the_comparison_shows_real_decoded_and_difference(tmp_path):
    frames, tokenizer = pictures(3), make_tokenizer()
    write_comparison(tmp_path / "c.png", tokenizer, frames)
    shown = decode_image((tmp_path / "c.png").read_bytes())
    assert shown.shape == (3 * 18, 3 * 34, 3)
    decoded = tokenizer.decode(tokenizer.encode(frames))
    for i in range(3):
        across = slice(34 * i, 34 * i + 32)
        assert np.array_equal(shown[:16, across], frames[i])
        assert np.array_equal(shown[18:34, across], decoded[i])
