"""What conditions each frame: its noise level and the action that produced it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.action_spec import ActionSpec
from world_model.companding import Companding
from world_model.vector_linear import VectorLinear


class TimeEmbedding(nn.Module):
    """Noise level t in [0, 1] to a vector: sinusoids, then a two-layer SiLU MLP.

    The sinusoids take t itself at moderate frequencies, not 1000 t: the derivative with respect
    to t stays small, which continuous-time consistency distillation (sCM) needs from the base
    training on.
    """

    frequencies: Tensor

    def __init__(self, width: int, features: int = 64, max_frequency: float = 32.0) -> None:
        super().__init__()
        scale = torch.exp(torch.linspace(0.0, math.log(max_frequency), features // 2))
        self.register_buffer("frequencies", scale, persistent=False)
        self.project_in = VectorLinear(features, width)
        self.project_out = VectorLinear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """(...,) to (..., width)."""
        angles = t[..., None].float() * self.frequencies
        features = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.project_out(F.silu(self.project_in(features)))


class ActionEmbedding(nn.Module):
    """Encoded actions to a vector: one table per categorical group, one linear map per Box.

    The embeddings of all groups add up. The null action has a vector of its own. Numbers of a Box
    that has a companding curve are mapped onto [-1, 1] by it first.
    """

    def __init__(self, spec: ActionSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.tables = nn.ModuleList()
        for group in spec.groups:
            if group.kind == "categorical":
                table = nn.Embedding(group.size, width)
                nn.init.normal_(table.weight, std=0.02)
                self.tables.append(table)
            else:
                self.tables.append(VectorLinear(group.size, width))
        self.null = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, actions: Tensor) -> Tensor:
        """float32 (..., K) to (..., width); a row with NaN is the null action."""
        is_null = actions.isnan().any(dim=-1, keepdim=True)
        known = torch.where(is_null, torch.zeros_like(actions), actions)
        total: Tensor | None = None
        column = 0
        for group, table in zip(self.spec.groups, self.tables, strict=True):
            part = known[..., column : column + group.columns]
            column += group.columns
            if group.companding is not None:
                part = _compress(part, group.companding)
            vector = table(part[..., 0].long()) if group.kind == "categorical" else table(part)
            total = vector if total is None else total + vector
        assert total is not None
        return torch.where(is_null, self.null.to(total.dtype), total)

    def begin_with(self, other: ActionEmbedding) -> None:
        """Takes over what ``other`` knows of actions that mean the same; the rest stays as it is.

        Categorical choices mean the same if they have the same label, whatever their numbers;
        numbers of a Box if the groups are equal.
        """
        theirs = list(zip(other.spec.groups, other.tables, strict=True))
        rows = {
            label: table.weight[row]
            for group, table in theirs
            if isinstance(table, nn.Embedding)
            for row, label in enumerate(group.labels)
        }
        with torch.no_grad():
            self.null.copy_(other.null)
            for group, table in zip(self.spec.groups, self.tables, strict=True):
                if isinstance(table, nn.Embedding):
                    for row, label in enumerate(group.labels):
                        if label in rows:
                            table.weight[row] = rows[label]
                for known, linear in theirs:
                    if known == group and isinstance(linear, nn.Linear):
                        table.load_state_dict(linear.state_dict())


def _compress(x: Tensor, curve: Companding) -> Tensor:
    """:meth:`Companding.compress` for tensors."""
    size = x.abs().clamp(max=curve.limit) / curve.limit
    return x.sign() * (curve.mu * size).log1p() / math.log1p(curve.mu)
