"""Muon in a tenth of the kernels: matrices of one shape are orthogonalised together.

``torch.optim.Muon`` takes one matrix after the other, some thirty kernels each: for the matrices of
a small transformer that is most of what a step on a GPU launches beside its gradient. The update is
the same up to the last digit of a bfloat16, and so is what a checkpoint holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """As ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"``, in fewer and larger kernels.

    Args:
        params: matrices, or groups of them.
        settings: ``lr``, ``weight_decay`` and so on, as of ``torch.optim.Muon``.
    """

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, adjust_lr_fn="match_rms_adamw", **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for alike in by_shape.values():
                self._update(alike, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """One step of matrices of one shape."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = momenta
        if group["nesterov"]:
            ahead = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        updates = orthogonalised(
            torch.stack(ahead), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        # As long, in the root mean square, as a step of AdamW.
        length = 0.2 * math.sqrt(max(parameters[0].shape))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        parts = list(updates.to(parameters[0].dtype).contiguous().unbind())
        torch._foreach_add_(parameters, parts, alpha=-group["lr"] * length)


def orthogonalised(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """The nearest matrices with orthogonal rows or columns, roughly, by a Newton-Schulz iteration.

    Args:
        matrices: float (M, rows, columns).
        coefficients: of the quintic polynomial.
        steps: of the iteration.
        eps: least norm that a matrix is divided by.

    Returns:
        bfloat16 (M, rows, columns).
    """
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
