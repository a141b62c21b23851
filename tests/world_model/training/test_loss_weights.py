from __future__ import annotations

import pytest
import torch

from world_model.errors import ConfigError
from world_model.flow import FlowConfig
from world_model.tokenizer import PixelPatchConfig, PixelPatchTokenizer
from world_model.training.loss_weights import (
    OBJECT_REACH,
    OBJECT_SHARE,
    check_weights,
    loss_weights,
)

SIDE = 64
TOKENIZER = PixelPatchTokenizer(PixelPatchConfig((SIDE, SIDE, 3), patch_size=8))


def weigh(flow, images, labels=None):
    """Weights by frame and pixel, (F, H, W), of one sequence of images (F, H, W, 3)."""
    tokens = TOKENIZER.patchify(images[None])
    check_weights(TOKENIZER, flow, tokens, labels)
    weights = loss_weights(TOKENIZER, flow, tokens, labels)
    assert weights is not None
    assert weights.mean().item() == pytest.approx(1.0)
    pixels = TOKENIZER.unpatchify(weights)[0]
    assert (pixels == pixels[..., :1]).all()  # all colours alike
    return pixels[..., 0]


def square(row, column, reach):
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    half = reach // 2
    mask[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1] = True
    return mask


@pytest.mark.parametrize("reach", [5, 17])
def test_what_moved_before_weighs_more(reach):
    """The weight of frame i looks at frames i - 2 and i - 1, never at frame i itself."""
    images = torch.zeros(5, SIDE, SIDE, 3)
    images[2:, 14, 24] = 1.0  # a pixel lights up in frame 2
    weights = weigh(FlowConfig(motion_weight=3.0, motion_reach=reach), images)
    base = weights[0, 0, 0]
    expected = torch.ones(5, SIDE, SIDE)
    expected[3][square(14, 24, reach)] = 4.0
    torch.testing.assert_close(weights / base, expected)


def test_near_an_object_of_the_two_frames_before_weighs_more():
    labels = torch.zeros(1, 6, SIDE, SIDE, dtype=torch.uint8)
    labels[0, 1, 3, 20] = 2
    labels[0, 4, 30, 30] = 1  # frame 5 alone has it before it
    weights = weigh(FlowConfig(object_weights=(1.0, 5.0)), torch.zeros(6, SIDE, SIDE, 3), labels)
    expected = torch.ones(6, SIDE, SIDE)
    for frame in (2, 3):
        expected[frame][square(3, 20, OBJECT_REACH)] = 6.0
    expected[5][square(30, 30, OBJECT_REACH)] = 2.0
    torch.testing.assert_close(weights / weights[0, 0, 0], expected)


def test_the_large_does_not_outweigh_the_small():
    labels = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    labels[0, 0, :, : SIDE // 2] = 1  # with its surroundings, 40 columns of 64
    weights = weigh(FlowConfig(object_weights=(5.0,)), torch.zeros(3, SIDE, SIDE, 3), labels)
    extra = weights[2] / weights[0, 0, 0] - 1
    assert extra.mean().item() == pytest.approx(5.0 * OBJECT_SHARE)
    assert extra[0, 39].item() == pytest.approx(5.0 * OBJECT_SHARE * 64 / 40)
    assert extra[0, 40].item() == pytest.approx(0.0, abs=1e-5)


def test_classes_and_motion_add_up():
    images = torch.zeros(3, SIDE, SIDE, 3)
    images[1, 20, 20] = 1.0
    labels = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    labels[0, 0, 20, 20], labels[0, 1, 20, 21] = 1, 2
    flow = FlowConfig(motion_weight=3.0, object_weights=(2.0, 4.0))
    weights = weigh(flow, images, labels)
    assert (weights[2, 20, 20] / weights[0, 0, 0]).item() == pytest.approx(1 + 3 + 2 + 4)


def test_nothing_to_weigh():
    tokens = torch.zeros(1, 4, 64, 192)
    assert loss_weights(TOKENIZER, FlowConfig(), tokens, None) is None
    motion = FlowConfig(motion_weight=3.0)
    assert loss_weights(TOKENIZER, motion, tokens[:, :2], None) is None  # too short to see motion


@pytest.mark.parametrize(
    ("labels", "match"),
    [(None, "no labels"), (torch.full((1, 4, SIDE, SIDE), 3, dtype=torch.uint8), "up to class 3")],
)
def test_weights_that_do_not_fit_the_labels(labels, match):
    flow = FlowConfig(object_weights=(1.0, 2.0))
    with pytest.raises(ConfigError, match=match):
        check_weights(TOKENIZER, flow, torch.zeros(1, 4, 64, 192), labels)
