"""Pixel patches lose nothing, and lie where they should."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer, tokenizer_from_dict


def make(shape=(8, 12, 3), patch=4, **options) -> PixelPatchTokenizer:
    return PixelPatchTokenizer(PixelPatchConfig(frame_shape=shape, patch_size=patch, **options))


@pytest.mark.parametrize("std", [127.5, 60.0, 1.0, 0.37])
@pytest.mark.parametrize("mean", [(127.5, 127.5, 127.5), (12.3, 200.7, 0.1)])
def test_every_pixel_value_survives(std, mean):
    tokenizer = make((1, 256, 3), 1, std=std, mean=mean)
    frames = torch.arange(256, dtype=torch.uint8)[None, :, None].expand(1, 256, 3)
    assert torch.equal(tokenizer.decode(tokenizer.encode(frames)), frames)


def test_frames_of_any_leading_shape_survive():
    tokenizer = make(mean=(90.0, 80.0, 70.0), std=33.3)
    frames = torch.randint(0, 256, (2, 5, 8, 12, 3), dtype=torch.uint8)
    latents = tokenizer.encode(frames)
    assert latents.shape == (2, 5, 6, 48)
    assert latents.dtype == torch.float32
    assert torch.equal(tokenizer.decode(latents), frames)
    assert torch.equal(tokenizer.encode(frames[1, 3]), latents[1, 3])


def test_patches_lie_row_by_row():
    """Against loops written from the definition, on frames that are not square."""
    tokenizer = make()
    images = torch.randn(2, 8, 12, 3)
    tokens = tokenizer.patchify(images)
    for row in range(2):
        for column in range(3):
            patch = images[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(tokens[:, 3 * row + column], patch.reshape(2, 48))
    assert torch.equal(tokenizer.unpatchify(tokens), images)


def test_a_pixel_changes_one_number():
    tokenizer = make()
    frame = torch.zeros(8, 12, 3, dtype=torch.uint8)
    changed = frame.clone()
    changed[5, 9, 1] = 255
    difference = (tokenizer.encode(changed) != tokenizer.encode(frame)).nonzero().tolist()
    assert difference == [[5, (1 * 4 + 1) * 3 + 1]]  # patch (1, 2); row 1, column 1, green


def test_tokens_are_normalised():
    tokenizer = make(mean=(10.0, 20.0, 30.0), std=5.0)
    frame = torch.tensor([15, 25, 35], dtype=torch.uint8).expand(8, 12, 3)
    torch.testing.assert_close(tokenizer.encode(frame), torch.ones(6, 48))


def test_decoding_rounds_and_clamps():
    tokenizer = make((1, 4, 3), 1, mean=(0.0, 0.0, 0.0), std=1.0)
    latents = torch.tensor([-3.0, 254.6, 300.0, 7.4])[:, None].expand(4, 3)
    assert tokenizer.decode(latents)[0, :, 0].tolist() == [0, 255, 255, 7]


def test_decoding_leaves_its_input_alone():
    tokenizer = make()
    latents = torch.randn(6, 48)
    before = latents.clone()
    tokenizer.decode(latents)
    assert torch.equal(latents, before)


def test_through_json_and_back():
    tokenizer = make(mean=(1.5, 2.5, 3.5), std=44.0)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.config == tokenizer.config
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8))
    assert torch.equal(again.encode(frames), tokenizer.encode(frames))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_shape": (8, 10, 3), "patch_size": 4}, "8x10 pixels do not divide into patches"),
        ({"frame_shape": (10, 8, 3), "patch_size": 4}, "10x8 pixels do not divide"),
        ({"patch_size": 0}, "patch_size must be at least 1"),
        ({"frame_shape": (0, 8, 3)}, "at least one pixel"),
        ({"mean": (1.0, 2.0)}, "2 entries for 3 channels"),
        ({"std": 0.0}, "std must be positive"),
        ({"std": float("nan")}, "std must be positive"),
    ],
)
def test_configs_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        PixelPatchConfig(**options)


@pytest.mark.parametrize("data", [{}, {"kind": "vae"}, {"kind": "pixel_patch"}])
def test_unknown_tokenizers_are_refused(data):
    with pytest.raises((ValueError, KeyError)):
        tokenizer_from_dict(data)
