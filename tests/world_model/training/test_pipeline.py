"""From a data set to the parts of a world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.world_model.training.bars import INFO, make_bars
from world_model import contexts as clips
from world_model.errors import DataError
from world_model.presets import get_preset
from world_model.training.adaptation import OutcomeSettings
from world_model.training.pipeline import Stages, describe_hardware


def stages_of(store, folder, **outcome) -> Stages:
    preset = get_preset("tiny")
    train = replace(preset.train, precision="float32", batch_size=2, steps=2)
    return Stages(store, preset, folder, "bars", train, OutcomeSettings(**outcome))


def test_tokens_are_scaled_by_the_data(bars, tmp_path):
    tokenizer = stages_of(bars, tmp_path).tokenizer()
    frames = np.array(bars.frames)
    np.testing.assert_allclose(tokenizer.config.mean, frames.mean(axis=(0, 1, 2)), atol=0.051)
    latents = tokenizer.encode(torch.from_numpy(frames[:200]))
    assert abs(latents.mean()) < 0.1
    assert abs(latents.std() - 1) < 0.05


def test_a_data_set_of_one_colour_can_be_scaled(tmp_path):
    class Grey:
        frames = np.full((10, 16, 16, 3), 7, np.uint8)
        num_frames = 10
        frame_shape = (16, 16, 3)

    config = stages_of(Grey(), tmp_path).tokenizer().config
    assert config.mean == (7.0, 7.0, 7.0)
    assert config.std == 1.0


def test_the_world_knows_where_it_comes_from(bars, tmp_path):
    stages = stages_of(bars, tmp_path, contexts=5)
    trainer = stages.trainer()
    world = stages.world(trainer)
    assert world.config.name == "bars"
    assert world.config.fps == INFO.fps
    assert world.config.frame_shape == INFO.frame_shape
    assert world.config.max_episode_steps == INFO.source["max_episode_steps"]
    assert world.config.source == INFO.source
    assert world.config.hardware.startswith("CPU, ")
    assert world.action_spec.describe(np.array([1.0])) == "left"
    assert world.outcome is None
    assert len(world.contexts) == 5
    for name, parameter in world.network.named_parameters():
        assert torch.equal(parameter, trainer.state.ema.weights[name])


def test_contexts_are_true_starts_of_training_episodes(bars, tmp_path):
    contexts = stages_of(bars, tmp_path, contexts=10**6).contexts()
    train = bars.split("train")
    assert len(contexts) == len(train)  # all there are, and no fewer
    assert contexts.length == get_preset("tiny").context_length
    starts = {bars.episode(int(i)).frames[:3].tobytes() for i in train}
    assert all(clip.tobytes() in starts for clip in contexts.frames)
    assert np.isnan(contexts.actions[:, 0]).all()


def test_contexts_of_large_frames_are_fewer(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "CLIP_BYTES", 7 * 3 * 16 * 16 * 3)
    assert len(stages_of(bars, tmp_path).contexts()) == 7


def test_data_that_would_fail_at_the_end_fails_at_the_start(tmp_path):
    single = make_bars(tmp_path / "single", episodes=1)
    with pytest.raises(DataError, match="0 validation episodes"):
        stages_of(single, tmp_path).check()
    stages_of(single, tmp_path, steps=0).check()
    short = make_bars(tmp_path / "short", episodes=4, transitions=1)
    with pytest.raises(DataError, match=r"no training episode .* the 3 frames that start"):
        stages_of(short, tmp_path, steps=0).check()


def test_hardware_in_words(monkeypatch):
    assert describe_hardware("cpu") == f"CPU, {torch.get_num_threads()} thread(s)"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A fast one")
    assert describe_hardware("cuda:1") == "A fast one"
