"""The transformer block: attention and MLP, modulated per frame (adaLN-zero)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.network_config import NetworkConfig
from world_model.rope import rotate

NORM_EPS = 1e-6


def normalized(x: Tensor, eps: float = NORM_EPS) -> Tensor:
    """``x / sqrt(mean(x ** 2) + eps)`` over the last dimension: RMSNorm before its weight."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled():
        # One pass to read and one to write; the general function writes the squares as well.
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * torch.rsqrt(norm.square() / x.shape[-1] + eps)
    return F.rms_norm(x, x.shape[-1:], None, eps)


class ModulatedNorm(nn.RMSNorm):
    """``RMSNorm(x) * (1 + scale) + shift``, as adaLN has it, in few passes over x."""

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        """(B, F, N, width) to the same; ``shift`` and ``scale`` are (B, F, 1, width)."""
        return torch.addcmul(shift, normalized(x), (1 + scale) * self.weight.to(x.dtype))


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
        x = x.relu_()
        return self.project_out(x.mul_(x))


class Block(nn.Module):
    """``x += g1 Attn(mod(RMSNorm(x)))``, ``x += g2 MLP(mod(RMSNorm(x)))``, modulated per frame."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention = ModulatedNorm(width, eps=NORM_EPS)
        self.norm_mlp = ModulatedNorm(width, eps=NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = nn.RMSNorm(config.head_dim, eps=NORM_EPS)
        self.norm_k = nn.RMSNorm(config.head_dim, eps=NORM_EPS)
        self.project = nn.Linear(width, width, bias=False)
        self.mlp = MLP(width, config.mlp_width, config.mlp)
        self.modulation = nn.Linear(width, 6 * width)

    def modulate(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Six tensors (B, F, 1, width) from the condition after SiLU (B, F, width)."""
        return self.modulation(condition)[:, :, None].chunk(6, dim=-1)

    def qkv_of(
        self, x: Tensor, shift: Tensor, scale: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised, rotated queries and keys, and values: three (B, F, N, heads, d)."""
        qkv = self.qkv(self.norm_attention(x, shift, scale))
        qkv = qkv.unflatten(-1, (3, self.heads, -1))
        weights = torch.stack([self.norm_q.weight, self.norm_k.weight])[:, None].to(x.dtype)
        # Queries and keys together: for few streams the number of operations is what counts.
        normed = normalized(qkv[..., :2, :, :]) * weights
        q, k = rotate(normed, cos[..., None, :], sin[..., None, :]).unbind(-3)
        return q, k, qkv[..., 2, :, :]

    def finish(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Everything after attention."""
        _, _, gate, shift, scale, gate_mlp = modulation
        x = torch.addcmul(x, gate, self.project(attended.flatten(-2)))
        changed = self.mlp(self.norm_mlp(x, shift, scale))
        return torch.addcmul(x, gate_mlp, changed)
