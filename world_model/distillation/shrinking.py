"""A smaller student to begin with: its teacher without some of its blocks, or of their units."""

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


def narrow(network: NextFrameDiffusion, mlp_width: int) -> NextFrameDiffusion:
    """A copy whose MLPs keep the units that do most.

    What a unit adds is estimated from its weights: its inputs are normalised, so it answers in
    proportion to the norms of its rows (squared for a squared ReLU), and writes with that of its
    column.

    Args:
        network: what to copy from.
        mlp_width: units to keep in each block.

    Raises:
        ConfigError: if there are fewer than that.
    """
    config = network.config
    if not 1 <= mlp_width <= config.mlp_width:
        raise ConfigError(
            f"MLPs of {config.mlp_width} units can be cut to 1 or more of them, not to {mlp_width}."
        )
    smaller = NextFrameDiffusion(replace(config, mlp_width=mlp_width), network.embed_action.spec)
    weights = dict(network.state_dict())
    for number in range(config.layers):
        place = f"blocks.{number}.mlp."
        rows, columns = weights[f"{place}project_in.weight"], weights[f"{place}project_out.weight"]
        parts = rows.unflatten(0, (-1, config.mlp_width))  # gates and values, where there are gates
        answer = parts.norm(dim=-1).prod(dim=0) if len(parts) > 1 else parts[0].norm(dim=-1) ** 2
        kept = (answer * columns.norm(dim=0)).topk(mlp_width).indices.sort().values
        weights[f"{place}project_in.weight"] = parts[:, kept].flatten(0, 1)
        weights[f"{place}project_out.weight"] = columns[:, kept]
    with torch.no_grad():
        smaller.load_state_dict(weights)
    return smaller.eval().requires_grad_(False)
