"""Where the training loss counts more: where things move, and near the things that matter.

A weight may depend on what the network is given, never on what it predicts. One that looked at the
target would bias the samples: of two futures, the one with more change in it would be learned as
the likelier one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model.errors import ConfigError
from world_model.flow import FlowConfig
from world_model.tokenizer import FrameTokenizer, PixelPatchTokenizer

MOTION_THRESHOLD = 0.1
"""Change, in standard deviations, from which a pixel counts as moving."""
OBJECT_REACH = 17
"""Pixels around an object's pixel that count as near it (side of a square): as far as a small
thing moves in two frames."""
OBJECT_SHARE = 0.1
"""Share of a frame up to which the surroundings of a class weigh in full. What is larger weighs as
much in all, so that an explosion that fills the view does not outweigh a hundred small things."""


def check_weights(
    tokenizer: FrameTokenizer, flow: FlowConfig, latents: Tensor, labels: Tensor | None
) -> None:
    """Refuses batches that :func:`loss_weights` cannot weigh; waits for the labels' device.

    Args:
        tokenizer: as for :func:`loss_weights`, and so are the others.
        flow: says what counts more, and how much.
        latents: clean tokens (B, F, N, D).
        labels: uint8 (B, F, H, W), object class of each pixel, or None where none was recorded.

    Raises:
        ConfigError: if ``flow.object_weights`` does not fit the labels, or tokens are no pixels.
    """
    if not _any_weights(flow, latents):
        return
    if not isinstance(tokenizer, PixelPatchTokenizer):
        raise ConfigError(
            f"motion_weight={flow.motion_weight} and object_weights={flow.object_weights} weigh "
            "pixels, but this world's tokens are an autoencoder's. Set motion_weight to 0 and "
            "leave object_weights empty."
        )
    if flow.object_weights and (labels is None or int(labels.max()) > len(flow.object_weights)):
        have = "no labels" if labels is None else f"labels up to class {int(labels.max())}"
        raise ConfigError(
            f"object_weights={flow.object_weights} weighs {len(flow.object_weights)} classes "
            f"of labels, but the data set has {have}. Record it with labels, or give one "
            "number per class: nfd train --object-weights N N ... (no numbers: no weights)."
        )


def loss_weights(
    tokenizer: FrameTokenizer, flow: FlowConfig, latents: Tensor, labels: Tensor | None
) -> Tensor | None:
    """Weights with mean 1 of every number of a batch; None where all count the same.

    Args:
        tokenizer: knows which token holds which pixel.
        flow: says what counts more, and how much.
        latents: clean tokens (B, F, N, D), checked by :func:`check_weights` with all the others.
        labels: uint8 (B, F, H, W), object class of each pixel, or None where none was recorded; on
            the latents' device.
    """
    if not _any_weights(flow, latents):
        return None
    assert isinstance(tokenizer, PixelPatchTokenizer)
    images = tokenizer.unpatchify(latents)
    weights = torch.ones_like(images)
    if flow.motion_weight:
        moved = (images[:, 1:-1] - images[:, :-2]).abs().amax(-1) > MOTION_THRESHOLD
        weights[:, 2:] += flow.motion_weight * near(moved, flow.motion_reach)[..., None]
    for number, extra in enumerate(flow.object_weights, start=1):
        assert labels is not None
        here = labels == number
        around = near(here[:, 1:-1] | here[:, :-2], OBJECT_REACH)
        share = around.mean(dim=(2, 3), keepdim=True).clamp(min=OBJECT_SHARE)
        weights[:, 2:] += extra * (around * OBJECT_SHARE / share)[..., None]
    return tokenizer.patchify(weights / weights.mean())


def _any_weights(flow: FlowConfig, latents: Tensor) -> bool:
    return latents.shape[1] >= 3 and bool(flow.motion_weight or flow.object_weights)


def near(marked: Tensor, reach: int) -> Tensor:
    """float (B, F, H, W): one within a square of side ``reach`` around a marked pixel."""
    rows = F.max_pool2d(marked.float(), (1, reach), stride=1, padding=(0, reach // 2))
    return F.max_pool2d(rows, (reach, 1), stride=1, padding=(reach // 2, 0))
