"""The transformer block: attention and MLP, modulated per frame (adaLN-zero)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.network_config import NetworkConfig
from world_model.rope import rotate
from world_model.vector_linear import VectorLinear

NORM_EPS = 1e-6


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x * (1 + scale) + shift`` in one pass over x (B, F, N, width), as adaLN has it.

    Args:
        x: (B, F, N, width).
        shift: (B, F, 1, width).
        scale: as shift.
    """
    return torch.addcmul(shift, x, 1 + scale)


class RMSNorm(nn.RMSNorm):
    """RMSNorm whose weight follows its input's dtype, so that fused kernels can be used."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        assert self.weight is not None
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class MLP(nn.Module):
    """SwiGLU, or a squared-ReLU MLP."""

    def __init__(self, width: int, inner: int, kind: str) -> None:
        super().__init__()
        self.gated = kind == "swiglu"
        self.project_in = nn.Linear(width, 2 * inner if self.gated else inner, bias=False)
        self.project_out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        x = self.project_in(x)
        if self.gated:
            gate, x = x.chunk(2, dim=-1)
            return self.project_out(F.silu(gate) * x)
        if torch.is_grad_enabled():
            return self.project_out(F.relu(x).square())
        # In place: of many streams this is the largest tensor, and fresh memory is not free.
        return self.project_out(x.relu_().mul_(x))


class Block(nn.Module):
    """``x += g1 Attn(mod(RMSNorm(x)))``, ``x += g2 MLP(mod(RMSNorm(x)))``, modulated per frame."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention = RMSNorm(width, eps=NORM_EPS)
        self.norm_mlp = RMSNorm(width, eps=NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = RMSNorm(config.head_dim, eps=NORM_EPS)
        self.norm_k = RMSNorm(config.head_dim, eps=NORM_EPS)
        self.project = nn.Linear(width, width, bias=False)
        self.mlp = MLP(width, config.mlp_width, config.mlp)
        self.modulation = VectorLinear(width, 6 * width)

    def modulate(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Six tensors (B, F, 1, width) from the condition after SiLU (B, F, width)."""
        return self.parts_of(self.modulation(condition))

    @staticmethod
    def parts_of(modulation: Tensor) -> tuple[Tensor, ...]:
        """Six tensors (B, F, 1, width) from what the linear layer gives, (B, F, 6 * width)."""
        return modulation[:, :, None].chunk(6, dim=-1)

    def qkv_of(
        self, x: Tensor, shift: Tensor, scale: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised, rotated queries and keys, and values: three (B, F, N, heads, d)."""
        x = modulated(self.norm_attention(x), shift, scale)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        return rotate(self.norm_q(q), cos, sin), rotate(self.norm_k(k), cos, sin), v

    def finish(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Everything after attention."""
        _, _, gate, shift, scale, gate_mlp = modulation
        x = torch.addcmul(x, gate, self.project(attended.flatten(-2)))
        changed = self.mlp(modulated(self.norm_mlp(x), shift, scale))
        return torch.addcmul(x, gate_mlp, changed)
