"""A smaller student to begin with: its teacher with some of the blocks left out."""

from __future__ import annotations

from dataclasses import replace

import torch

from world_model.errors import ConfigError
from world_model.network import NextFrameDiffusion


def shrink(network: NextFrameDiffusion, layers: int) -> NextFrameDiffusion:
    """A copy with fewer blocks.

    Where only some blocks look across frames, those stay, and so do the first and the last in any
    case; of the others those stay that spread most evenly. What a block adds to the residual stream
    is small, so the rest still makes sense of it, and training has a place to begin.

    Args:
        network: what to copy from.
        layers: how many blocks to keep.

    Raises:
        ConfigError: if there are fewer blocks than that, or more that cannot be left out.
    """
    config = network.config
    across = config.across_frames if config.temporal_layers is not None else ()
    kept = sorted({*across, 0, config.layers - 1})
    if not len(kept) <= layers <= config.layers:
        raise ConfigError(
            f"a network of {config.layers} blocks can be cut to {len(kept)} or more of them, not "
            f"to {layers}: {kept} must stay."
        )
    while len(kept) < layers:
        left_out = [i for i in range(config.layers) if i not in kept]
        kept.append(max(left_out, key=lambda i: min(abs(i - k) for k in kept)))
    kept.sort()
    temporal = None if config.temporal_layers is None else tuple(kept.index(i) for i in across)
    smaller = NextFrameDiffusion(
        replace(config, layers=layers, temporal_layers=temporal), network.embed_action.spec
    )
    names = {f"blocks.{old}.": f"blocks.{new}." for new, old in enumerate(kept)}
    weights = {}
    for name, value in network.state_dict().items():
        if not name.startswith("blocks."):
            weights[name] = value
            continue
        prefix = ".".join(name.split(".")[:2]) + "."
        if prefix in names:
            weights[names[prefix] + name.removeprefix(prefix)] = value
    with torch.no_grad():
        smaller.load_state_dict(weights)
    return smaller.eval().requires_grad_(False)
