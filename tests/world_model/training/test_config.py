"""Training settings that cannot be are refused with their value."""

from __future__ import annotations

import pytest

from world_model.training.config import TrainConfig


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optimizer", "sgd", "optimizer must be 'muon' or 'adamw', not 'sgd'"),
        ("precision", "float16", r"precision must be .* not 'float16'"),
        ("steps", 0, "steps must be at least 1, not 0"),
        ("batch_size", -1, "batch_size must be at least 1"),
        ("length", 0, "length must be at least 1"),
        ("log_every", 0, "log_every must be at least 1"),
        ("save_every", 0, "save_every must be at least 1"),
        ("sample_every", -1, "sample_every must not be negative"),
        ("warmup_steps", -1, "warmup_steps must not be negative"),
        ("learning_rate", 0.0, "learning_rate must be positive"),
        ("learning_rate", float("nan"), "learning_rate must be positive"),
        ("gradient_clip", float("inf"), "gradient_clip must be positive"),
        ("weight_decay", -0.1, "weight_decay must not be negative"),
        ("decay_fraction", 1.5, r"decay_fraction must lie in \[0, 1\]"),
        ("ema_decay", -0.1, r"ema_decay must lie in \[0, 1\]"),
    ],
)
def test_settings_that_cannot_be(name, value, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{name: value})


def test_sample_videos_can_be_switched_off():
    assert TrainConfig(sample_every=0).sample_every == 0
