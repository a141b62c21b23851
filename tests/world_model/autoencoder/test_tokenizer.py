"""The autoencoder's shapes, scale and layout of tokens."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tests.world_model.autoencoder.tiny import TINY, make_tokenizer, pictures
from world_model.autoencoder.config import AutoencoderConfig
from world_model.autoencoder.tokenizer import FRAMES_AT_ONCE, AutoencoderTokenizer, to_pixels
from world_model.tokenizer import tokenizer_from_dict


@pytest.mark.parametrize(
    ("shape", "downsampling", "patch", "grid", "dim"),
    [
        ((16, 32, 3), 8, 1, (2, 4), 4),
        ((16, 48, 3), 8, 2, (1, 3), 16),
        ((32, 16, 3), 16, 1, (2, 1), 4),
        ((32, 96, 3), 16, 2, (1, 3), 16),
    ],
)
def test_shapes_there_and_back(shape, downsampling, patch, grid, dim):
    tokenizer = make_tokenizer(frame_shape=shape, downsampling=downsampling, patch_size=patch)
    assert (tokenizer.grid, tokenizer.token_dim) == (grid, dim)
    frames = pictures(3, shape)
    tokens = tokenizer.encode(frames)
    assert tokens.shape == (3, grid[0] * grid[1], dim)
    assert tokens.dtype == torch.float32
    again = tokenizer.decode(tokens)
    assert again.shape == frames.shape
    assert again.dtype == torch.uint8


def test_frames_of_any_leading_shape():
    tokenizer = make_tokenizer()
    frames = pictures(6)
    tokens = tokenizer.encode(frames)
    nested = tokenizer.encode(frames.unflatten(0, (2, 3)))
    assert torch.equal(nested.flatten(0, 1), tokens)
    torch.testing.assert_close(tokenizer.encode(frames[4]), tokens[4])
    assert tokenizer.decode(tokens.unflatten(0, (2, 3))).shape == (2, 3, *TINY.frame_shape)
    assert tokenizer.decode(tokens[4]).shape == TINY.frame_shape


def test_more_frames_than_go_through_at_once():
    tokenizer = make_tokenizer()
    frames = pictures(FRAMES_AT_ONCE + 3)
    tokens = tokenizer.encode(frames)
    torch.testing.assert_close(tokens[-3:], tokenizer.encode(frames[-3:]))
    decoded = tokenizer.decode(tokens)
    assert (decoded[-3:].int() - tokenizer.decode(tokens[-3:]).int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_shape": (360, 640, 3)}, r"360x640 pixels do not divide .* 32x32 .* of 352x640"),
        ({"frame_shape": (224, 390, 3), "patch_size": 1}, "of 224x384"),
        ({"frame_shape": (20, 20, 3)}, "of 32x32"),
        ({"frame_shape": (224, 384, 1)}, r"\(height, width, 3\), not \(224, 384, 1\)"),
        ({"downsampling": 32}, "downsampling must be 8 or 16, not 32"),
        ({"latent_channels": 0}, "latent_channels must be at least 1, not 0"),
        ({"width": 30}, "width must be a multiple of 4, not 30"),
        ({"latent_mean": (1.0, 2.0)}, "2 entries for 16 channels"),
        ({"latent_std": 0.0}, "latent_std must be positive"),
    ],
)
def test_configs_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderConfig(**changes)


def test_tokens_are_scaled_latents():
    plain = make_tokenizer()
    scaled = make_tokenizer(latent_mean=(1.0, -2.0, 0.5, 0.0), latent_std=0.25)
    frames = pictures(2)
    latents = plain.encode(frames)  # one latent a token: its numbers are the channels
    mean = torch.tensor([1.0, -2.0, 0.5, 0.0])
    torch.testing.assert_close(scaled.encode(frames), (latents - mean) / 0.25)
    difference = scaled.decode(scaled.encode(frames)).int() - plain.decode(latents).int()
    assert difference.abs().max() <= 1


def test_a_token_is_decoded_where_its_pixels_lie():
    """The right latent below left in the second of two tokens, through a decoder that enlarges."""
    tokenizer = make_tokenizer(frame_shape=(16, 32, 3), patch_size=2)
    first = torch.nn.Conv2d(4, 3, 1, bias=False)  # a latent's first channel, three times
    torch.nn.init.zeros_(first.weight).requires_grad_(False)[:, 0] = 1.0
    tokenizer.decoder.layers = torch.nn.Sequential(first, torch.nn.Upsample(scale_factor=8.0))
    tokens = torch.full((1, 2, 16), -1.0)
    tokens[0, 1, 8:12] = 1.0  # row 1, column 0 of the token's 2x2 latents
    frame = tokenizer.decode(tokens)[0]
    assert (frame[8:, 16:24] == 255).all()
    assert frame.float().mean() == pytest.approx(255 / 8)


def test_encoding_is_the_mean_and_never_draws():
    tokenizer = make_tokenizer()
    frames = pictures(2)
    state = torch.get_rng_state()
    tokens = tokenizer.encode(frames)
    assert torch.equal(state, torch.get_rng_state())
    mean = tokenizer.encoder(tokenizer.to_images(frames)).mean
    assert torch.equal(tokens, mean.movedim(1, -1).flatten(1, 2))


def test_no_gradients_flow_into_the_transformers_tokens():
    tokenizer = AutoencoderTokenizer(TINY)  # trainable, as it would be by mistake
    assert all(p.requires_grad for p in tokenizer.parameters())
    tokens = tokenizer.encode(pictures(2))
    assert not tokens.requires_grad
    weight = torch.ones((), requires_grad=True)
    (tokens * weight).sum().backward()
    assert weight.grad is not None
    assert all(p.grad is None for p in tokenizer.parameters())


def test_pixels_are_rounded_and_clamped():
    images = torch.tensor([-1.5, -1.0, 0.0, 0.999, 1.0, 7.0]).view(1, 1, 1, -1).expand(1, 3, 1, 6)
    assert to_pixels(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]


def test_another_precision_decodes_nearly_the_same():
    tokenizer = make_tokenizer()
    assert tokenizer.in_precision(torch.float32) is tokenizer
    fast = tokenizer.in_precision(torch.bfloat16)
    tokens = tokenizer.encode(pictures(2))
    assert torch.equal(fast.encode(pictures(2)), tokens)
    assert fast.encoder is tokenizer.encoder
    assert fast.decoder.layers[0].weight.dtype == torch.bfloat16
    assert tokenizer.decoder.layers[0].weight.dtype == torch.float32
    difference = (fast.decode(tokens).int() - tokenizer.decode(tokens).int()).abs()
    assert 0 < difference.float().mean() < 3


def test_description_and_back():
    tokenizer = make_tokenizer(latent_mean=(0.1, 0.2, 0.3, 0.4), latent_std=0.7)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.config == tokenizer.config


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_descriptions_that_do_not_fit(change):
    data = make_tokenizer().to_dict()
    if change == "missing":
        del data["downsampling"]
    else:
        data["surprise"] = 1
    with pytest.raises(ValueError, match="downsampling" if change == "missing" else "surprise"):
        tokenizer_from_dict(data)


def test_the_default_is_the_papers_tokenizer():
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        tokenizer = AutoencoderTokenizer(AutoencoderConfig())
        latents = torch.randn(1, 16, 14, 24)
    assert (tokenizer.grid, tokenizer.token_dim) == ((7, 12), 64)
    with FlopCounterMode(display=False) as counter:
        images = tokenizer.decoder(latents)
    assert images.shape == (1, 3, 224, 384)
    assert counter.get_total_flops() == pytest.approx(0.33e12, rel=0.01)
    decoder = sum(p.numel() for p in tokenizer.decoder.parameters())
    assert decoder == pytest.approx(41e6, rel=0.02)
    assert sum(p.numel() for p in tokenizer.parameters()) == pytest.approx(69.6e6, rel=0.01)


def test_the_networks_of_f8_are_those_of_latent_diffusion():
    with torch.device("meta"):
        config = replace(AutoencoderConfig(), downsampling=8, latent_channels=4)
        tokenizer = AutoencoderTokenizer(config)
    # KL-f8 has 83.7 million, without attention in its coarsest level.
    assert sum(p.numel() for p in tokenizer.parameters()) == pytest.approx(88.9e6, rel=0.01)
