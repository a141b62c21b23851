"""What noise levels and actions make of every block (adaLN), worked out once where they are few."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.action_spec import ActionSpec
from world_model.network import NextFrameDiffusion

MOST_BYTES = 64 * 2**20
"""Above this a table is not made: reading it would cost what it saves."""
BEFORE_PASSES = 2
"""Entries before those of the denoising passes: the last frame, and one with none before it."""
Places = list[tuple[dict[str, nn.Parameter | None], str]]
"""Where modules keep some of their parameters, which takes long to find out at every step."""


class ModulationTable:
    """:meth:`NextFrameDiffusion.modulation` of all that a step can meet, to be looked up.

    A step knows one noise level of frames looked back at, one of each denoising pass, and the
    actions of its space: where these are few in number, so is what they can make of the blocks.

    Args:
        network: whose modulation it is, with the weights of now.
        spec: of the actions; all of its groups categorical.
        level: noise level of frames looked back at.
        grid: noise levels of the denoising passes, from 1 down to 0.
    """

    def __init__(
        self, network: NextFrameDiffusion, spec: ActionSpec, level: float, grid: list[float]
    ) -> None:
        self._places = _weight_places(network)
        self._made_of = _marks(self._places)
        device = network.device
        sizes = [group.size for group in spec.groups]
        self.strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        self.passes = len(grid) - 1
        times = [level, level, *grid[:-1]]
        steps = [0.0, 0.0, *(t - below for t, below in itertools.pairwise(grid))]
        before = [level, 1.0, *[level] * self.passes]
        null = [math.nan] * len(sizes)
        actions = [null, *map(list, itertools.product(*map(range, sizes)))]
        taken = torch.tensor(actions, dtype=torch.float32, device=device)
        many = len(taken)

        def each(values: list[float]) -> Tensor:  # (actions, entries)
            return torch.tensor(values, device=device).repeat(many, 1)

        exact = torch.autocast(device.type, enabled=False)  # it may outlast an autocast of now
        with torch.inference_mode(False), torch.no_grad(), exact:
            made = network.modulation(
                each(times),
                taken[:, None].repeat(1, len(times), 1),
                each(before),
                each(steps),
            )
        self.rows = made.flatten(0, 1)
        """(actions * entries, layers * 6 * width + 2 * width), the null action's first."""

    def is_current(self) -> bool:
        """Whether the weights are still those that it was made of. Asked at every step."""
        return _marks(self._places) == self._made_of

    def look_up(self, last_action: Tensor, last_previous_t: Tensor, actions: Tensor) -> Tensor:
        """Of the last frame, and of the next one in each denoising pass.

        Args:
            last_action: float32 (B, K), what produced the last frame; NaN rows are null.
            last_previous_t: float32 (B,), noise level of the frames before it; 1 for none.
            actions: float32 (B, K), what produces the next one.

        Returns:
            (B, 1 + passes, layers * 6 * width + 2 * width).
        """
        entries = BEFORE_PASSES + self.passes
        first = self._number(last_action) * entries + (last_previous_t == 1).long()
        passes = torch.arange(BEFORE_PASSES, entries, device=actions.device)
        others = self._number(actions)[:, None] * entries + passes
        return F.embedding(torch.cat([first[:, None], others], dim=1), self.rows)

    def _number(self, actions: Tensor) -> Tensor:
        """int64 (B,): which of all actions each is; 0 is the null action."""
        number = torch.ones(len(actions), dtype=torch.int64, device=actions.device)
        for column, stride in enumerate(self.strides):
            number = number + actions[:, column].nan_to_num().long() * stride
        return number.masked_fill(actions.isnan().any(dim=1), 0)


def fits(network: NextFrameDiffusion, spec: ActionSpec, passes: int) -> bool:
    """Whether what a step can meet is few enough in number for a table."""
    if any(group.kind != "categorical" for group in spec.groups):
        return False
    actions = 1 + math.prod(group.size for group in spec.groups)
    width, weight = network.config.width, network.embed.weight
    row = (6 * network.config.layers + 2) * width * weight.element_size()
    return actions * (BEFORE_PASSES + passes) * row <= MOST_BYTES


def _weight_places(network: NextFrameDiffusion) -> Places:
    """Where the weights are that the modulation is made of."""
    parts: list[nn.Module] = [network.embed_time, network.embed_action, network.modulation_out]
    if network.config.previous_frames:
        parts.append(network.embed_previous_time)
    if network.config.step_size:
        parts.append(network.embed_step)
    parts += [block.modulation for block in network.blocks]
    modules = (module for part in parts for module in part.modules())
    return [(module._parameters, name) for module in modules for name in module._parameters]


def _marks(places: Places) -> list[tuple[int, int]]:
    """Where weights lie in memory, and how often they were changed there."""
    found = (parameters[name] for parameters, name in places)
    return [(p.data_ptr(), p._version) for p in found if p is not None]
