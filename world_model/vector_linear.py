"""A linear layer over a few vectors of each stream, the same whatever streams are beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VectorLinear(nn.Linear):
    """As ``nn.Linear``; but on a CPU, of no stream does the last digit depend on the others.

    A matrix product of a few rows is computed in another order than one of many, and so its last
    digit depends on how many streams there are. Products of all tokens of a frame do not have that:
    they have rows enough for one way. What a stream makes of the last digit grows with every frame,
    so here each stream has a product of its own. On a GPU, in bfloat16 and in training, where it
    would cost more or matter less, it is one for all.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., in_features) to (B, ..., out_features)."""
        if x.ndim < 2 or not each_by_itself(x):
            return super().forward(x)
        weight = self.weight.t().expand(len(x), -1, -1)
        vectors = x[:, None] if x.ndim == 2 else x.flatten(1, -2)
        if self.bias is None:
            out = torch.bmm(vectors, weight)
        else:
            out = torch.baddbmm(self.bias, vectors, weight)
        return out.reshape(*x.shape[:-1], self.out_features)


def each_by_itself(x: Tensor) -> bool:
    """Whether what is computed of ``x`` (B, ...) is to be so for each row of the batch alone."""
    exact = x.device.type == "cpu" and x.dtype == torch.float32
    return exact and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
