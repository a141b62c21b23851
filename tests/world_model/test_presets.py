"""Presets fit together, and to frames of any size their patches divide."""

from __future__ import annotations

import pytest

from world_model.presets import PRESETS, get_preset, with_frame_shape
from world_model.samplers import SAMPLERS, time_grid
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer


@pytest.mark.parametrize("name", PRESETS)
def test_settings_fit_together(name):
    preset = get_preset(name)
    assert preset.sampler in SAMPLERS
    assert len(time_grid(preset.sampling_steps, preset.sampling_shift)) == preset.sampling_steps + 1
    assert 0 <= preset.context_noise <= preset.flow.context_noise_max
    assert preset.context_length >= 1
    # Training must meet what streaming meets: frames that fall out of sight.
    assert preset.train.length > preset.network.window


@pytest.mark.parametrize("name", ["doom-take-cover", "tiny"])
@pytest.mark.parametrize("shape", [(64, 64, 3), (16, 40, 3)])
def test_pixel_presets_follow_the_frames(name, shape):
    preset = with_frame_shape(get_preset(name), shape)
    tokenizer = PixelPatchTokenizer(
        PixelPatchConfig(frame_shape=shape, patch_size=preset.patch_size)
    )
    assert preset.network.grid == tokenizer.grid
    assert preset.network.token_dim == tokenizer.token_dim
    assert preset.network.width == get_preset(name).network.width


def test_their_own_frames_change_nothing():
    assert with_frame_shape(get_preset("doom-take-cover"), (64, 64, 3)) == get_preset(
        "doom-take-cover"
    )


def test_an_unknown_preset_lists_what_there_is():
    with pytest.raises(ValueError, match="unknown preset 'doom'; there are: doom-take-cover,"):
        get_preset("doom")
